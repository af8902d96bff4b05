"""`keys`, `trusts`, `users`, `tenants`: who may do what."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from sluicegate.cli.session import Json, connect, console, print_json

NamedKey = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]
NamedTrust = Annotated[str, typer.Argument(metavar="NAME", help="Name of the trust.")]
User = Annotated[str, typer.Argument(metavar="USER_ID", help="Id, as `sluicegate users list` shows it.")]
Tenant = Annotated[
    str, typer.Argument(metavar="TENANT_ID", help="Id, as `sluicegate tenants list` shows it.")
]

keys = typer.Typer(help="API keys of your tenant.", no_args_is_help=True)
trusts = typer.Typer(help="Issuers whose tokens your tenant lets in.", no_args_is_help=True)
users = typer.Typer(help="Members of your tenant.", no_args_is_help=True)
tenants = typer.Typer(help="All tenants; for owners of the installation.", no_args_is_help=True)


class KeyRole(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"


class MemberRole(StrEnum):
    """What a member or a trusted token may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def _show(kind: str, columns: tuple[str, ...], *, as_json: bool) -> None:
    with connect() as client:
        found = client.entries(kind)
    if as_json:
        print_json(found)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for entry in found:
        table.add_row(*(escape(_word(entry[column])) for column in columns))
    console().print(table)


def _word(value: Any) -> str:
    return "" if value is None else str(value)


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys; their texts are known to nobody but their holders."""
    from sluicegate.client import KEYS

    _show(KEYS, ("name", "role", "id"), as_json=as_json)


@keys.command("create")
def create_key(name: NamedKey, role: KeyRole = KeyRole.READ, as_json: Json = False) -> None:
    """Make a key and print its text, which is never shown again."""
    from sluicegate.client import KEYS

    with connect() as client:
        made = client.add(KEYS, name=name, role=role.value)
    print_json(made) if as_json else typer.echo(made["api_key"])


@keys.command("revoke")
def revoke_key(name: NamedKey) -> None:
    """Revoke a key; within seconds nobody is let in with it."""
    from sluicegate.client import KEYS

    with connect() as client:
        client.remove(KEYS, name)
    typer.echo(f"{name} is revoked")


@trusts.command("list")
def list_trusts(as_json: Json = False) -> None:
    """List the trusts."""
    from sluicegate.client import TRUSTS

    _show(TRUSTS, ("name", "role", "issuer", "subject", "audience"), as_json=as_json)


@trusts.command("add")
def add_trust(
    name: NamedTrust,
    issuer: Annotated[str, typer.Argument(help="Issuer, exactly as in the tokens.")],
    subject: Annotated[str, typer.Argument(help="Subject; * stands for any characters.")],
    audience: Annotated[str | None, typer.Option(help="Audience; * stands for any characters.")] = None,
    role: MemberRole = MemberRole.READ,
) -> None:
    """Let in tokens of an issuer, such as those of a build service."""
    from sluicegate.client import TRUSTS

    with connect() as client:
        client.add(TRUSTS, name=name, issuer=issuer, subject=subject, audience=audience, role=role.value)
    typer.echo(f"{name} is trusted")


@trusts.command("remove")
def remove_trust(name: NamedTrust) -> None:
    """Let in such tokens no more."""
    from sluicegate.client import TRUSTS

    with connect() as client:
        client.remove(TRUSTS, name)
    typer.echo(f"{name} is trusted no more")


@users.command("list")
def list_users(as_json: Json = False) -> None:
    """List the members."""
    from sluicegate.client import USERS

    _show(USERS, ("subject", "email", "role", "origin", "user_id"), as_json=as_json)


@users.command("add")
def add_user(
    subject: Annotated[str, typer.Argument(help="Who it is to the identity provider.")],
    email: Annotated[str | None, typer.Option(help="Address, to recognise them by.")] = None,
    role: MemberRole = MemberRole.READ,
) -> None:
    """Make somebody a member before their first login."""
    from sluicegate.client import USERS

    with connect() as client:
        made = client.add(USERS, subject=subject, email=email, role=role.value)
    typer.echo(f"{subject} is a member: {made['user_id']}")


@users.command("role")
def set_role(user_id: User, role: MemberRole) -> None:
    """Give a member another role."""
    with connect() as client:
        client.set_role(user_id, role.value)
    typer.echo(f"{user_id} may {role.value}")


@users.command("remove")
def remove_user(user_id: User) -> None:
    """Take somebody out of the tenant."""
    from sluicegate.client import USERS

    with connect() as client:
        client.remove(USERS, user_id)
    typer.echo(f"{user_id} is a member no more")


@tenants.command("list")
def list_tenants(as_json: Json = False) -> None:
    """List all tenants, oldest first."""
    from sluicegate.client import TENANTS

    _show(TENANTS, ("name", "id", "initial_provider"), as_json=as_json)


@tenants.command("create")
def create_tenant(name: str) -> None:
    """Create a tenant, unless there is one of this name."""
    from sluicegate.client import TENANTS

    with connect() as client:
        made = client.add(TENANTS, name=name)
    typer.echo(f"{name} is a tenant: {made['id']}")


@tenants.command("rename")
def rename_tenant(
    tenant_id: Tenant,
    name: str,
    displace: Annotated[bool, typer.Option("--displace", help="Take the name from who has it.")] = False,
) -> None:
    """Give a tenant another name."""
    with connect() as client:
        displaced = client.rename_tenant(tenant_id, name, displace=displace)
    typer.echo(f"{tenant_id} is called {name}")
    if displaced:
        typer.echo(f"{displaced['id']} is called {displaced['name']} now")


@tenants.command("delete")
def delete_tenant(tenant_id: Tenant) -> None:
    """Delete a tenant that has no pipelines, keys and trusts; its members go with it."""
    from sluicegate.client import TENANTS

    with connect() as client:
        client.remove(TENANTS, tenant_id)
    typer.echo(f"{tenant_id} is deleted")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, group in (("keys", keys), ("trusts", trusts), ("users", users), ("tenants", tenants)):
        app.add_typer(group, name=name)
