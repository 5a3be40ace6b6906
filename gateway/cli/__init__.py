"""The `tallylight` command. Only click is imported here: each command's module is loaded when it is used."""

import importlib

import click

COMMANDS = {
    "up": ("up", "Everything on one machine, with a demo organization and a first video."),
    "generate": ("generate", "Make a video and save it."),
    "jobs": ("jobs", "List, look at, watch, cancel and delete jobs."),
    "serve": ("processes", "Run the API."),
    "dispatch": ("processes", "Run jobs on the fleet; one process leads, others stand by."),
    "clerk": ("processes", "Run everything periodic."),
    "migrate": ("processes", "Bring the database's tables up to date."),
    "settings": ("processes", "Show the settings as they were read, secrets masked."),
    "orgs": ("access", "Create, list and rename organizations."),
    "projects": ("access", "Open, list, rename and archive projects."),
    "members": ("access", "Add, list and remove an organization's people, and change their roles."),
    "people": ("people", "Invite people, reset what they sign in with, end their sessions."),
    "keys": ("keys", "Create, list, change, rotate and revoke API keys."),
    "apply": ("apply", "Make an organization's projects, keys and members what a YAML file says."),
    "quotas": ("quotas", "Set, list, change and remove what may be used."),
    "wallet": ("money", "Top up and show wallets."),
    "prices": ("prices", "Check, publish and show price lists."),
    "plans": ("plans", "Publish plans; begin, change and end them; sell packs."),
    "invoices": ("invoices", "List, show, print and correct invoices; close what is due."),
    "bank": ("bank", "Book wires, what is written off, and suppliers' bills."),
    "shares": ("shares", "Share income by agreement and by views; say what payees are owed."),
    "payments": ("payments", "List payments and pay them back."),
    "reconcile": ("payments", "Compare the ledger with Stripe's account and with what compute cost, for a day."),
    "usage": ("reports", "Show what was used and charged; write it as CSV or Parquet."),
    "statement": ("reports", "Show the movements of a wallet."),
    "margin": ("reports", "Show revenue against what the compute cost."),
    "ledger": ("ledger", "Prove the ledger, read it, correct it."),
    "audit": ("audit", "Read and prove who did what, and who was refused."),
    "simulate": ("simulate", "Run a trace of jobs on a fleet on paper: waits, refusals, cost against the least possible."),
    "webhooks": ("webhooks", "Keep the addresses that are told what happens; look at deliveries and send them again."),
    "listen": ("listen", "Hand what happens on to a program on this machine, signed as a webhook is."),
    "trigger": ("listen", "Send an event that did not happen, to try a receiver."),
    "fleet": ("fleet", "Command the Triton servers, check one against the video contract, change the catalogue."),
}


class _Lazy(click.Group):
    """Knows the commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"gateway.cli.{COMMANDS[cmd_name][0]}")
        return getattr(module, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tallylight")
def tallylight() -> None:
    """Tallylight: a metered inference gateway for AI video."""
