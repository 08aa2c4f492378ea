"""Keeps secrets encrypted, and gives them to the stages whose config names them."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_secrets() -> list[Provider]:
    return [Provider("encrypted", "flowdapt_secrets.keeper:Keeper", "Encrypted in the storage.")]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("secrets", "flowdapt_secrets.routes:routes")]
