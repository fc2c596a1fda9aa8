"""`catalyst deploy`: the files of an installation, its secrets once, and what comes next.

Owns: what may be asked for, and the screens. What is in a set stands in catalyst_signals.deploy.
Law: a secret is made here, shown once and written nowhere; every run makes new ones.
"""

from __future__ import annotations

import re
import secrets
import shlex
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from catalyst_signals.advisor.tables import SCALES, Bill, Scale
from catalyst_signals.auth.api_keys import new_key
from catalyst_signals.cli import console
from catalyst_signals.cli.options import Json, Mistake, examples
from catalyst_signals.deploy import Names, Secret, Target, files_of, files_of_all, filled, targets
from catalyst_signals.deploy.writing import write
from catalyst_signals.errors import InvalidRequest

EVERYTHING = "all"
PASSWORD_CHARS = 32
_LETTERS = string.ascii_letters + string.digits  # It may stand in a URL.
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{4,253}}$)({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(.+)")
_REGION = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")


def _option(metavar: str, says: str) -> Any:
    return typer.Option(metavar=metavar, help=escape(says))


def add_to(app: typer.Typer) -> None:
    """Hang the command in."""
    app.command(
        "deploy",
        epilog=examples(
            "catalyst deploy                                                        which targets there are",
            "catalyst deploy compose --out site --domain signals.acme.dev --email ops@acme.dev",
            "catalyst deploy systemd --scale mvp --out site",
            note="Files that are there are never deleted, and replaced only with --force. Secrets are shown once and "
            "written nowhere.",
        ),
    )(deploy)


def deploy(
    target: Annotated[
        str | None,
        typer.Argument(metavar="TARGET", help="Where to run; without it they are listed.", show_default=False),
    ] = None,
    scale: Annotated[str | None, _option("NAME", "mvp, small, medium or large. [default: the target's first]")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write to.", show_default=False)] = None,
    domain: Annotated[str | None, _option("HOST", "How the world reaches it. [default: signals.example.org]")] = None,
    email: Annotated[
        str | None, _option("ADDRESS", "For the certificate and for alerts. [default: admin@example.org]")
    ] = None,
    region: Annotated[str | None, _option("NAME", "Of the cloud, where there is one. [default: eu-central-1]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the targets and write nothing.")] = False,
    json: Json = False,
) -> None:
    """Write everything that an installation needs: configuration, scripts, a guide."""
    if target is None or list_:
        return _list(json)
    if out is None:
        raise Mistake(f"where to? `catalyst deploy {target} --out DIR`")
    names = _names(domain=domain, email=email, region=region)
    if target == EVERYTHING:
        if scale is not None:
            raise Mistake(f"`{EVERYTHING}` is every target at its own first scale; leave --scale out")
        return _write_all(out, names, force=force, as_json=json)
    return _write(_target(target), scale, out, names, force=force, as_json=json)


# --- What is asked for --------------------------------------------------------------------------------------------


def _names(**given: str | None) -> Names:
    """They stand in files that programs read, so only what a name can have gets there."""
    names = msgspec.structs.replace(Names(), **{field: value for field, value in given.items() if value is not None})
    if _DOMAIN.fullmatch(names.domain) is None:
        raise _wrong("domain", names.domain, "a name in small letters with a dot in it, such as signals.example.org")
    mail = _EMAIL.fullmatch(names.email)
    if mail is None or _DOMAIN.fullmatch(mail[1].lower()) is None:
        raise _wrong("email", names.email, "an address such as admin@example.org")
    if _REGION.fullmatch(names.region) is None:
        raise _wrong("region", names.region, "a region as the cloud names it, such as eu-central-1 or europe-west3")
    return names


def _wrong(field: str, got: object, allowed: object) -> InvalidRequest:
    return InvalidRequest(f"--{field} cannot be {got!r}", field=field, got=got, allowed=allowed)


def _target(name: str) -> Target:
    found = next((each for each in targets().values() if name in (each.name, *each.also)), None)
    if found is None:
        raise InvalidRequest(f"there is no target {name!r}", field="target", got=name, allowed=list(targets()))
    return found


def _scale(target: Target, asked: str | None) -> Scale:
    """A scale that is built, and that this target has."""
    from catalyst_signals.advisor.built import missing_for

    if asked is None:
        return target.scales[0]
    scale = next((each for each in SCALES if each == asked), None)
    if scale is None:
        raise InvalidRequest(f"there is no scale {asked!r}", field="scale", got=asked, allowed=list(SCALES))
    if missing := missing_for(scale):
        raise InvalidRequest(
            f"{scale} cannot be run yet: this program lacks {'; '.join(missing)}. `catalyst advise` says what it "
            "would be and cost", field="scale", got=scale, allowed=list(target.scales), missing=list(missing),
        )  # fmt: skip
    if scale not in target.scales:
        why = target.never.get(scale, "there are no files for it")
        said = f"{target.title} cannot be had at the scale {scale}: {why}"
        raise InvalidRequest(said, field="scale", got=scale, allowed=list(target.scales))
    return scale


# --- What is written ----------------------------------------------------------------------------------------------


def _write(target: Target, asked: str | None, out: Path, names: Names, *, force: bool, as_json: bool) -> None:
    scale = _scale(target, asked)
    names = msgspec.structs.replace(names, scale=scale)
    texts = files_of(target, scale, names)
    again = (out / f"{target.name}.md").exists()
    write(out, texts, replace=force)
    made = [(secret, _made(secret)) for secret in target.secrets_at(scale)]
    steps = [filled(step, names) for step in target.next]
    if as_json:
        return console.say_json({
            "target": target.name, "scale": scale, "out": str(out), "files": sorted(texts),
            "secrets": [{"name": each.name, "value": value, "put": filled(each.put, names)} for each, value in made],
            "next": steps,
        })  # fmt: skip
    named = any(names.domain in text for text in texts.values())
    _show_files(
        f"{target.title}, {scale}{f', for {names.domain}' if named else ''}, in {console.clean(str(out))}/", texts
    )
    if named and names.domain == Names().domain:
        console.say("\nThat name is an example: --domain HOST and --email ADDRESS put yours in")
    _show_secrets(((each.name, value, filled(each.put, names)) for each, value in made), again=again)
    _show_next(target, out, steps)
    return None


def _write_all(out: Path, names: Names, *, force: bool, as_json: bool) -> None:
    from catalyst_signals.deploy.index import index_of

    texts = files_of_all(names) | {"README.md": index_of()}
    write(out, texts, replace=force)
    if as_json:
        return console.say_json({"target": EVERYTHING, "out": str(out), "files": sorted(texts)})
    return _show_files(f"Every target, in {console.clean(str(out))}/", texts)


def _made(secret: Secret) -> str:
    if secret.kind == "admin_key":
        return new_key("live")[1]
    return "".join(secrets.choice(_LETTERS) for _ in range(PASSWORD_CHARS))


# --- The screens --------------------------------------------------------------------------------------------------


def _list(as_json: bool) -> None:
    from catalyst_signals.deploy.index import bills_of

    found = [(target, bills_of(target)) for target in targets().values()]
    if as_json:
        return console.say_json([
            {"name": t.name, "also": t.also, "title": t.title, "about": t.about, "scales": t.scales,
             "bills": [bill.id for bill in bills]}
            for t, bills in found
        ])  # fmt: skip
    rows = [(t.name, t.title, ", ".join(_with_price(scale, bills) for scale in t.scales)) for t, bills in found]
    console.say_table(("target", "where", "scales, and what they cost a month"), rows, none="there are no targets")
    console.say("\n`catalyst deploy TARGET --out DIR` writes one; `catalyst advise` says which fits you, and why")
    return None


def _with_price(scale: Scale, bills: list[Bill]) -> str:
    from catalyst_signals.advisor.costing import dollars, total

    return " ".join([scale, *(dollars(*total(bill)) for bill in bills if bill.scale == scale)])


def _show_files(title: str, texts: Iterable[str]) -> None:
    """A line for each folder: a tree of them would push what has to be read off the screen."""
    console.say(f"{title}\n")
    rows: dict[str, list[str]] = {}
    for path in sorted(texts, key=lambda path: (path.count("/") > 0, path)):
        folder, _, name = path.rpartition("/")
        rows.setdefault(f"{folder}/" if folder else "./", []).append(name)
    console.say_table(("folder", "files"), ((each, ", ".join(names)) for each, names in rows.items()), none="")


def _show_secrets(made: Iterable[tuple[str, str, str]], *, again: bool) -> None:
    """Somebody who writes the set of the next release anew must not put them where others are in use."""
    shown = [line for name, value, put in made for line in (f"  {name}={value}", f"    {put}")]
    if shown:
        console.say("\nSecrets, shown this once and written nowhere:\n")
        if again:
            console.say("  (for a new installation; one that was started keeps those it has)\n")
        for line in shown:
            console.say(line)


def _show_next(target: Target, out: Path, steps: Iterable[str]) -> None:
    console.say(f"\nNext; {target.name}.md says each step:\n")
    console.say(f"  cd {shlex.quote(str(out))}")
    for step in steps:
        console.say(f"  {step}")
