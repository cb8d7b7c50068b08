"""Whether a kubeconfig leads to a cluster: found out before anything is done with it, and said in plain words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from appstack_lab.up.steps import StepFailed

if TYPE_CHECKING:
    from appstack_lab.up.steps import Steps

PATIENCE = "10s"
CREDENTIALS = {
    *("client-certificate", "client-certificate-data", "token", "tokenFile"),
    *("username", "exec", "auth-provider"),
}
RENEW = "get a new kubeconfig from whoever runs the cluster, or log in to it again"
# What kubectl complains about -> what is wrong, and what to do. The first phrase found counts.
VERDICTS = (
    ("getting credentials", "the program that fetches the credentials failed", "install it, or log in with it again"),
    ("must be logged in", "its credentials are not accepted (unauthorised)", RENEW),
    ("Unauthorized", "its credentials are not accepted (unauthorised)", RENEW),
    ("Please enter", "it holds no credentials", RENEW),
    ("system:anonymous", "it holds no credentials", RENEW),
    ("certificate has expired", "a certificate has expired", f"compare this machine's clock, then {RENEW}"),
    ("x509:", "the server's certificate is not trusted", f"compare its certificate-authority-data, or {RENEW}"),
    ("TLS handshake", "what answers there speaks no TLS", "compare its server address and port"),
    ("HTTP response to HTTPS", "what answers there speaks no TLS", "compare its server address and port"),
    ("unable to load root certificates", "its certificate authority cannot be read", RENEW),
    (
        "no such host",
        "the server's name is not known here",
        "compare its server address, or join the cluster's network",
    ),
    ("was refused", "no API server answers there", "start the cluster, or compare its server address and port"),
    (
        "no route to host",
        "there is no route to the server",
        "join the cluster's network (VPN?), or compare its address",
    ),
    ("network is unreachable", "there is no route to the server", "join the cluster's network (VPN?)"),
    (
        "timeout",
        f"the server did not answer within {PATIENCE}",
        "join the cluster's network (VPN?), or start the cluster",
    ),
    ("deadline exceeded", f"the server did not answer within {PATIENCE}", "join the cluster's network, or start it"),
    ("Timeout exceeded", f"the server did not answer within {PATIENCE}", "join the cluster's network, or start it"),
    ("(Forbidden)", "its account may not even list the API", "use one that can make CRDs and cluster roles"),
    ("(NotFound)", "what answers there is no Kubernetes API server", "compare its server address and port"),
)


def read_config(file: Path) -> dict[str, Any]:
    """The document of one kubeconfig file. Raises StepFailed where it is none."""
    try:
        loaded = yaml.safe_load(file.read_text())
    except OSError as error:
        raise StepFailed(f"The kubeconfig {file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise StepFailed(f"The kubeconfig {file} is not YAML. Set KUBECONFIG to another one.") from None
    if not isinstance(loaded or {}, dict):
        raise StepFailed(f"The kubeconfig {file} is not one: it holds no fields. Set KUBECONFIG to another one.")
    return loaded or {}


def merged(configs: list[dict[str, Any]]) -> dict[str, Any]:
    """What kubectl makes of a list of files: the first that names a thing counts."""
    current = next((config["current-context"] for config in configs if config.get("current-context")), "")
    whole: dict[str, Any] = {"current-context": current}
    for part in ("contexts", "clusters", "users"):
        entries = [entry for config in reversed(configs) for entry in config.get(part) or []]
        whole[part] = {entry["name"]: entry.get(part[:-1]) or {} for entry in entries}
    return whole


def defect_of(config: dict[str, Any]) -> str | None:
    """What a merged kubeconfig lacks to lead anywhere, with the way out; None: nothing that its text shows."""
    current, contexts = config["current-context"], config["contexts"]
    choose = f"Choose one: kubectl config use-context NAME (there are: {', '.join(sorted(contexts)) or 'none'})"
    if not current:
        return f"no context of it is current. {choose}"
    if current not in contexts:
        return f"it holds no context '{current}', which it calls current. {choose}"
    cluster = config["clusters"].get(contexts[current].get("cluster"), {})
    if not cluster.get("server"):
        return f"its context '{current}' leads to no server. {choose}"
    user = config["users"].get(contexts[current].get("user"), {})
    if str(cluster["server"]).startswith("https:") and not CREDENTIALS & user.keys():
        return f"its context '{current}' holds no credentials: {RENEW}"
    return None


def find(kubeconfig: Path) -> None:
    """See that a kubeconfig, or a list with : between, can lead to a cluster, asking nobody. Raises StepFailed."""
    files = [Path(name) for name in str(kubeconfig).split(":") if os.path.isfile(name)]  # noqa: PTH113 - never raises
    if not files:
        raise StepFailed(f"There is no kubeconfig at {kubeconfig}. Set KUBECONFIG, or use CLUSTER=lab.")
    try:
        defect = defect_of(merged([read_config(file) for file in files]))
    except (KeyError, TypeError, AttributeError):
        defect = "its contexts, clusters and users are not lists of named entries. Set KUBECONFIG to another one"
    if defect:
        raise StepFailed(f"The kubeconfig {kubeconfig} leads to no cluster: {defect}.")


def reach(steps: Steps, kubeconfig: Path) -> None:
    """Ask the API server for one thing that it tells nobody but its users. Raises StepFailed saying what is wrong."""
    begin = steps.log.stat().st_size
    try:
        steps.run("kubectl", "get", "--raw", "/api", f"--request-timeout={PATIENCE}")
    except StepFailed as failure:
        words = steps.log.read_bytes()[begin:].decode(errors="replace")
        verdict = explain(words)
        if verdict is None:
            raise failure from None
        raise StepFailed(f"The kubeconfig {kubeconfig} leads to no cluster: {verdict}") from None


def explain(words: str) -> str | None:
    """kubectl's complaint in plain words: what is wrong, what to do, and its own last line; None if it is unknown."""
    complaints = [line for line in words.splitlines() if line.strip() and not line.startswith("$ ")]
    text = "\n".join(complaints)
    for phrase, what, cure in VERDICTS:
        if phrase in text:
            line = next(each for each in complaints if phrase in each)
            return f"{what}.\n  What to do:     {cure}.\n  kubectl said:   {line.strip()}"
    return None
