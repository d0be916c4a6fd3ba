"""``penstock cache purge``: kept answers are dropped, in every process of the gateway and every node that shares a store."""

import argparse

from penstock.base.errors import BadRequest, PenstockError
from penstock.cli.cache_office import add_gateway_arguments, gateway_of
from penstock.cli.office import put_json, say

_WHAT = ("tenant", "namespace", "tag", "entry", "model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--tenant",
        metavar="NAME",
        help="of this tenant, as cache.scope says: a team, ORGANISATION/TEAM, an organisation, or a key: what it asked for",
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="of this namespace (x-penstock-cache-namespace), exactly"
    )
    parser.add_argument("--tag", help="with this tag (x-penstock-cache-tags)")
    parser.add_argument("--model", metavar="NAME", help="answered by this model: provider/model")
    parser.add_argument(
        "--entry", metavar="ID", help="one entry of the semantic tier (x-penstock-cache-entry)"
    )
    parser.add_argument("--all", action="store_true", help="every answer")
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        what = {name: str(value) for name in _WHAT if (value := getattr(args, name)) is not None}
        if bool(what) == bool(args.all):
            raise BadRequest(
                "It is not said what to drop." if not what else "--all goes with nothing else.",
                hint="Name --tenant, --namespace, --tag, --model or --entry (several: what matches each of them), or --all.",
            )
        answer = gateway_of(args).cache("POST", "purge", what or {"all": True})
    except PenstockError as error:
        return say(error)
    if args.json:
        put_json(answer)
        return 0
    count = int(answer["purged"])
    print(f"{count:,} {'answer was' if count == 1 else 'answers were'} dropped.")
    return 0
