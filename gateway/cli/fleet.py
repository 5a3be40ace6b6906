"""Operators' view of Triton servers."""

import asyncio

import click

from gateway.cli.command import as_json, reported, write_json
from gateway.fleet.check import check


@click.group()
def fleet() -> None:
    """Check a Triton server against the video contract."""


@fleet.command("check")
@click.argument("url")
@click.argument("model")
@as_json
def check_server(url: str, model: str, *, as_json: bool) -> None:
    """Check MODEL on the server at URL (host:port of its gRPC endpoint) against deploy/triton/README.md; say what breaks it."""
    with reported():
        findings = asyncio.run(check(url, model))
    if as_json:
        write_json({"ok": all(one.ok for one in findings), "findings": findings})
    else:
        for one in findings:
            click.echo(f"{'ok  ' if one.ok else 'FAIL'}  {one.rule}: {one.detail}")
    if not all(one.ok for one in findings):
        raise SystemExit(1)
