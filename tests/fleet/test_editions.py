"""Editions of the catalogue: the files with the operators' edits on top, checked whole, the same in every process."""

import asyncio
import os
import shutil
from pathlib import Path

import asyncpg
import msgspec
import pytest

from billing.kit.query import Conn, Pool
from gateway.fleet.catalogue import PACKAGED, CatalogueError
from gateway.fleet.chips import Catalogue, load_chips, read_catalogue
from gateway.fleet.editions.current import Current
from gateway.fleet.editions.model import Edits, Without, checked, merged
from gateway.fleet.editions.publish import begin, edit, publish_files
from gateway.fleet.editions.read import newest

FILES = read_catalogue("")
MODEL = next(one for one in FILES.models if one.name == "hunyuanvideo")
CHIP = next(one for one in FILES.accelerators if one.name == "h100")
SPEED = next(one for one in FILES.speeds if (one.model, one.accelerator) == ("hunyuanvideo", "h100"))
replace = msgspec.structs.replace
CHEAPER = Edits(accelerators=(replace(CHIP, price_micro_usd_per_hour=2_000_000),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in PACKAGED.glob("*.toml"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


def price_of(catalogue: Catalogue, name: str = "h100") -> int | None:
    return next(one.price_micro_usd_per_hour for one in catalogue.accelerators if one.name == name)


def test_an_edit_stands_in_the_place_of_its_row_and_nothing_else_moves() -> None:
    new = replace(CHIP, name="h100-nvl")
    found = merged(FILES, Edits(accelerators=(*CHEAPER.accelerators, new), without=Without(accelerators=("cpu",))))
    assert [one.name for one in found.accelerators] == [
        *(one.name for one in FILES.accelerators if one.name != "cpu"), "h100-nvl",
    ]  # fmt: skip
    assert price_of(found) == 2_000_000
    assert (found.models, found.speeds) == (FILES.models, FILES.speeds)
    assert merged(FILES, Edits()) == FILES


def _models(**changes: object) -> Edits:
    return Edits(models=(replace(MODEL, **changes),))


REFUSED = [
    (_models(memory_gib=900), "models hunyuanvideo: needs 900 GiB, and no accelerator has more than"),
    (_models(like="hunyuanvideo"), "models hunyuanvideo: goes in a circle: hunyuanvideo → hunyuanvideo"),
    (_models(name="silent"), "the model silent has no speed on any accelerator"),
    (Edits(without=Without(models=("hunyuanvideo",))), "speeds hunyuanvideo × h100 × 720p: models.toml has no model hunyuanvideo"),
    (Edits(without=Without(accelerators=("h100",))), "accelerators.toml has no accelerator h100"),
    (Edits(accelerators=(replace(CHIP, price_micro_usd_per_hour=-1),)), "accelerators h100: a price must be positive"),
    (Edits(accelerators=(CHIP, CHIP)), "accelerators h100: is listed twice"),
    (Edits(models=(MODEL,), without=Without(models=(MODEL.name,))), "models hunyuanvideo: is listed twice"),
    (Edits(speeds=(replace(SPEED, seconds_per_second=0.0),)), "speeds hunyuanvideo × h100 × 720p: seconds_per_second must be"),
    (Edits(default_model="hunyuanvideo"), "default_model 'hunyuanvideo' must be one of the models that are offered"),
]  # fmt: skip


@pytest.mark.parametrize("edits,sentence", REFUSED)
def test_a_wrong_row_is_named(edits: Edits, sentence: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        checked(FILES, edits)
    assert sentence in str(raised.value)


async def test_an_edition_never_changes_and_the_newest_is_in_force(pool: Pool, database: Conn) -> None:
    async with pool.acquire() as other:
        both = await asyncio.gather(begin(database, FILES), begin(other, FILES))
    first = both[0]
    assert both[1] == first and (first.version, first.source, first.catalogue) == (1, "files", FILES)
    assert await publish_files(database, FILES) == first
    for edits, sentence in REFUSED:
        with pytest.raises(CatalogueError, match=sentence.split(":", maxsplit=1)[0]):
            await edit(database, first, edits, "")
    with pytest.raises(CatalogueError, match="reason"):
        await edit(database, first, CHEAPER, "x" * 501)
    assert await newest(database) == first
    made = await edit(database, first, CHEAPER, "a new contract")
    assert made is not None
    assert (made.version, made.source, made.reason, price_of(made.catalogue)) == (2, "operator", "a new contract", 2_000_000)
    assert await edit(database, first, Edits(), "too late") is None
    assert await newest(database) == made and await newest(database, after=2) is None
    # Other files: the edits stay on top. Files that do not go with them are refused.
    shorter = replace(FILES, accelerators=tuple(one for one in FILES.accelerators if one.name != "mi300x"))
    third = await publish_files(database, shorter)
    assert (third.version, third.source, third.edits) == (3, "files", CHEAPER)
    with pytest.raises(CatalogueError, match="has no accelerator h200"):
        await publish_files(database, replace(FILES, accelerators=tuple(one for one in FILES.accelerators if one.name != "h200")))
    assert price_of((await edit(database, third, Edits(), "") or third).catalogue) == price_of(FILES)
    for change in ("UPDATE gateway.catalogue_edition SET reason = ''", "DELETE FROM gateway.catalogue_edition"):
        with pytest.raises(asyncpg.PostgresError):
            await database.execute(change)


async def test_a_model_goes_when_no_job_needs_it_any_more(database: Conn) -> None:
    first = await begin(database, FILES)
    gone = Edits(without=Without(models=("hunyuanvideo",), speeds=tuple(
        (one.model, one.accelerator, one.resolution) for one in FILES.speeds if one.model == "hunyuanvideo"
    )))  # fmt: skip
    await database.execute("SET session_replication_role = replica")  # a job of nobody
    await database.execute("""
        INSERT INTO gateway.job (org_id, id, project_id, key_id, livemode, dialect, model, tier, request, fingerprint, terms,
                                 max_ms, hold_ms, hold_micro, frames_total, queue_deadline_at)
        SELECT u, u, u, u, true, 'native', 'hunyuanvideo', 'flex', '{"resolution": "720p", "steps": 30}', 'x', '{}',
               1, 0, 1, 1, billing.now() FROM (SELECT gen_random_uuid() AS u) one
    """)
    with pytest.raises(CatalogueError, match="models hunyuanvideo: jobs wait for it or run on it"):
        await edit(database, first, gone, "")
    hidden = Edits(models=(replace(MODEL, offered=False, title="no more"),))
    assert await edit(database, first, hidden, "") is not None
    await database.execute("DELETE FROM gateway.job")
    assert await edit(database, await begin(database, FILES), gone, "") is not None


async def test_processes_follow_and_only_the_leaders_files_count(database: Conn, folder: Path) -> None:
    leader, other = Current(str(folder)), Current("")
    models, costs = leader.models, leader.costs
    assert await leader.look(database, leading=True)
    assert await other.look(database, leading=False) and not await other.look(database, leading=False)
    assert (leader.version, other.version) == (1, 1)
    path = folder / "models.toml"
    text = path.read_text()
    tuned = text[text.index("[[models]]") :].split("[[models]]")[1].replace('name = "testcard"', 'name = "card-2"', 1)
    _write(path, f'{text}\n[[models]]\n{tuned}like = "testcard"\n')
    assert not await other.look(database, leading=False)
    assert await leader.look(database, leading=True)
    assert await other.look(database, leading=False)
    assert "card-2" in other.models and other.steps["card-2"] == 30 and other.triton_models["card-2"] == "testcard"
    assert leader.models is models and leader.costs is costs and costs.most_micro_usd("card-2", "720p", 1000) > 0
    # A file that is wrong for a moment changes nothing; what there was stays in force.
    for broken in ("[[models", text.replace("memory_gib = 72", "memory_gib = 7200")):
        _write(path, broken)
        assert not await leader.look(database, leading=True)
    assert leader.chips == other.chips and (await newest(database) or leader).version == 2
    _write(path, text)
    assert await leader.look(database, leading=True)
    assert "card-2" not in leader.models and leader.triton_models["card-2"] == "testcard"  # one of its jobs may still run
    assert load_chips(str(folder)) == leader.chips


def _write(path: Path, text: str) -> None:
    """With another time of change, however coarse the clock of the file system."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before, before + 1_000_000))
