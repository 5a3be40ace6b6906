"""Room on disk, measured against limits that are surely above and below what is free."""

from pathlib import Path

from gateway.media.headroom import Headroom


def test_room_is_what_the_disk_has(tmp_path: Path) -> None:
    assert not Headroom(tmp_path, 1).short()
    assert Headroom(tmp_path, 2**62).short()


def test_a_store_elsewhere_has_all_the_room() -> None:
    assert not Headroom(None, 2**62).short()
