"""What is done to a stack. Each fault strikes, and returns what mends it; a fault that mends itself returns nothing."""

from __future__ import annotations

import shlex
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appstack_lab import binaries
from appstack_lab import faults as lab
from appstack_lab.cgroups import processes_in
from appstack_lab.orders import ask
from tests.chaos import processes
from tests.chaos.placing import bring_operator_back, patch_stack, restore_spec
from tests.chaos.site import OPERATOR, OPERATOR_NAME, Object, Site, Trouble, Victim, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

FILLER = "chaos-filler"


@dataclass(frozen=True)
class Proof:
    """What has to come true before a fault is over; only then the recovery is looked at."""

    what: str
    holds: Callable[[], bool]


def delete(site: Site, victim: Victim) -> None:
    """The pod is deleted as `kubectl delete` and a drain do."""
    site.kubectl("delete", "pod", victim.pod, "-n", site.namespace, "--wait=false")


def delete_without_grace(site: Site, victim: Victim) -> None:
    """The pod is deleted with no time to say goodbye."""
    words = ("--grace-period=0", "--force", "--wait=false")
    site.kubectl("delete", "pod", victim.pod, "-n", site.namespace, *words)


def kill_server(component: str) -> Callable[[Site, Victim], None]:
    """The server's first process gets SIGKILL; its manager lives."""

    def strike(site: Site, victim: Victim) -> None:
        pids = processes.servers_of(component, victim.containers) or processes.pids_of(victim.containers)
        if not pids:
            raise Trouble(f"{victim.pod} has no process of {component}")
        processes.send(signal.SIGKILL, pids[:1])

    return strike


def freeze_pod(site: Site, victim: Victim) -> Callable[[], None]:
    """Every process of the pod stops, and its connections stay open."""
    frozen = processes.freeze(processes.pids_of(victim.containers))
    if not frozen:
        raise Trouble(f"{victim.pod} has no process")
    frozen += processes.freeze(processes.pids_of(victim.containers))  # what was born meanwhile
    return lambda: processes.thaw(frozen)


def freeze_server(component: str) -> Callable[[Site, Victim], Callable[[], None]]:
    """The server stops under a manager that lives and looks."""

    def strike(site: Site, victim: Victim) -> Callable[[], None]:
        frozen = processes.freeze(processes.servers_of(component, victim.containers))
        frozen += processes.freeze(processes.servers_of(component, victim.containers))
        if not frozen:
            raise Trouble(f"{victim.pod} has no process of {component}")
        return lambda: processes.thaw(frozen)

    return strike


def partition(direction: str = "both") -> Callable[[Site, Victim], Callable[[], None]]:
    """The node's cable is cut; what runs on it goes on."""

    def strike(site: Site, victim: Victim) -> Callable[[], None]:
        node = site.cluster.node(victim.node)
        lab.partition(site.cluster, node, direction)
        return lambda: lab.heal(site.cluster, node)

    return strike


def crash(site: Site, victim: Victim) -> Callable[[], None]:
    """The node loses its power."""
    node = site.cluster.node(victim.node)
    lab.crash(site.cluster, node)
    return lambda: lab.restart(site.cluster, node)


def drain(site: Site, victim: Victim) -> Callable[[], None]:
    """The node is emptied as before its maintenance; the strike lasts until it is empty."""
    return drain_in_turn(site, [victim.node])


def drain_replica_first(site: Site, victim: Victim) -> Callable[[], None]:
    """The node of PostgreSQL's replica is emptied, and the primary's as soon as the first is open again."""
    others = (pod for pod in site.pods("postgres") if pod["metadata"]["name"] != victim.pod)
    return drain_in_turn(site, [next(pod["spec"]["nodeName"] for pod in others), victim.node])


def drain_in_turn(site: Site, nodes: Sequence[str]) -> Callable[[], None]:
    """Empty one node after the other, each open again before the next; the last one as it is mended."""
    kubectl = shlex.join((str(binaries.program("kubectl")), f"--kubeconfig={site.kubeconfig}"))
    options = "--ignore-daemonsets --delete-emptydir-data --timeout=240s"
    steps = [f"{kubectl} drain {node} {options}; {kubectl} uncordon {node}" for node in nodes]
    # In the background: what happens meanwhile is what is measured.
    drain_ = subprocess.Popen(
        ["sh", "-ec", "; ".join(steps).rpartition(";")[0]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def mend() -> None:
        code = drain_.wait(300 * len(nodes))
        for node in nodes:
            site.kubectl("uncordon", node)
        if code:
            raise Trouble(f"the drain of {', then '.join(nodes)} ended with {code}")

    return mend


def stop_api_server(site: Site, victim: Victim) -> Callable[[], None]:
    """The cluster's API server is down."""
    order(site, "stop", "kube-apiserver")
    return lambda: order(site, "start", "kube-apiserver")


def order(site: Site, do: str, name: str) -> None:
    """Tell the supervisor of the control plane."""
    if ask(site.cluster.socket, do, name) is None:
        raise Trouble(f"cluster {site.cluster.name} has no supervisor")


def freeze_dns(site: Site, victim: Victim) -> Callable[[], None]:
    """No name server answers."""
    frozen = [each for pod in name_servers(site) for each in freeze_all(Victim.of(pod))]
    if not frozen:
        raise Trouble("no name server runs")
    return lambda: processes.thaw(frozen)


def name_servers(site: Site) -> list[Any]:
    """The pods that answer for the cluster's names."""
    found: list[Any] = site.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
    return found


def freeze_all(victim: Victim) -> list[tuple[int, int]]:
    """Stop every process of a pod."""
    return processes.freeze(processes.pids_of(victim.containers))


def fill_disk(site: Site, victim: Victim) -> Callable[[], None]:
    """The volumes of the victim's node have no byte left. Only where the lab limits them."""
    if not site.cluster.volume_size:
        raise Trouble("this cluster's volumes have no limit: make it with --volume-size 4Gi")
    filler = site.cluster.home(site.cluster.node(victim.node)) / "volumes" / FILLER
    in_node(site, victim.node, f"dd if=/dev/zero of={filler} bs=1M 2>/dev/null; sync")
    return lambda: in_node(site, victim.node, f"rm -f {filler}")


def in_node(site: Site, node: str, script: str) -> None:
    """Run a shell script in a node's mounts."""
    code = lab.shell(site.cluster, site.cluster.node(node), ["sh", "-c", script])
    if code:
        raise Trouble(f"on {node}, with exit code {code}: {script}")


def upgrade(image: str) -> Callable[[Site, Victim], Proof]:
    """The operator is told another reference for one image: the same content under a second tag.

    Every pod of it is replaced as by a new version; what differs from a real one is only what is inside. The proof is
    that every such pod is another one, of the new reference, and Ready.
    """

    def strike(site: Site, victim: Victim) -> Proof:
        variable = f"APPSTACK_IMAGE_{image.upper()}"
        deployment = site.get("deployment", OPERATOR_NAME, *OPERATOR)
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        old = next(each["value"] for each in container["env"] if each["name"] == variable)
        new = tagged_anew(site, old)
        before = [pod for pod in site.lasting_pods() if old in images_of(pod)]
        if not before:
            raise Trouble(f"no pod runs {old}: there is nothing to upgrade")
        site.kubectl("set", "env", f"deployment/{OPERATOR_NAME}", *OPERATOR, f"{variable}={new}")
        return Proof(f"every pod of {old} is one of {new}", lambda: are_replaced(before, site.lasting_pods(), new))

    return strike


CPUS = ("110m", "120m")  # asked for in turn


def resize_postgres(site: Site, victim: Victim) -> Proof:
    """PostgreSQL's pods ask for another part of a processor than they do now; what else they ask for stays."""
    before = site.pods("postgres")
    new = next(cpu for cpu in CPUS if cpu not in map(cpu_of, before))
    patch_stack(site, {"spec": {"postgres": {"resources": {"requests": {"cpu": new}}}}})

    def is_done() -> bool:
        now = site.pods("postgres")
        return are_others(before, now) and {*map(cpu_of, now)} == {new}

    return Proof(f"every pod of PostgreSQL is another one, and asks for {new}", is_done)


def cpu_of(pod: Object) -> str:
    """What the pod's first container asks for."""
    return str(pod["spec"]["containers"][0].get("resources", {}).get("requests", {}).get("cpu"))


def are_others(before: Collection[Object], now: Collection[Object]) -> bool:
    """Whether as many pods as before are Ready, and none of them is of before."""
    return len(now) == len(before) and all(map(is_ready, now)) and not {*map(uid_of, before)} & {*map(uid_of, now)}


def upgrade_operator(site: Site, victim: Victim) -> Proof:
    """The operator itself becomes another version; no member of a data service may be replaced for that."""
    chosen = (*OPERATOR, "-l", f"app.kubernetes.io/name={OPERATOR_NAME}")
    container = site.get("deployment", OPERATOR_NAME, *OPERATOR)["spec"]["template"]["spec"]["containers"][0]
    new = tagged_anew(site, container["image"])
    before, members = site.get("pods", *chosen)["items"], members_of(site)
    site.kubectl("set", "image", f"deployment/{OPERATOR_NAME}", *OPERATOR, f"{container['name']}={new}")

    def is_done() -> bool:
        if gone := sorted(members - members_of(site)):
            raise Trouble(f"replaced for a new operator: {', '.join(pod for pod, _ in gone)}")
        return are_replaced(before, site.get("pods", *chosen)["items"], new)

    return Proof(f"every operator pod is one of {new}", is_done)


def members_of(site: Site) -> set[tuple[str, str]]:
    """Name and uid of every pod of a StatefulSet."""
    owned = [(pod, pod["metadata"].get("ownerReferences", [])) for pod in site.lasting_pods()]
    return {
        (pod["metadata"]["name"], uid_of(pod))
        for pod, owners in owned
        if any(o["kind"] == "StatefulSet" for o in owners)
    }


def tagged_anew(site: Site, image: str) -> str:
    """Another reference to the same image, on every node."""
    new = image.removesuffix("-chaos") if image.endswith("-chaos") else f"{image}-chaos"
    for node in site.cluster.nodes:
        tag = ["-a", str(site.cluster.containerd(node)), "-n", "k8s.io", "images", "tag", "--force", image, new]
        subprocess.run(["ctr", *tag], check=True, stdout=subprocess.DEVNULL)
    return new


def images_of(pod: Object) -> set[str]:
    return {container["image"] for container in pod["spec"]["containers"]}


def are_replaced(before: Collection[Object], now: Collection[Object], image: str) -> bool:
    """Whether none of the pods is left, and each of their components has pods of the image, all Ready."""
    if {uid_of(pod) for pod in before} & {uid_of(pod) for pod in now}:
        return False
    after = [pod for pod in now if image in images_of(pod)]
    return all(map(is_ready, after)) and set(map(component_of, before)) <= set(map(component_of, after))


def uid_of(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def component_of(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("appstack.dev/component"))


def is_ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def mend_leftovers(site: Site) -> list[str]:
    """Undo every fault that is still in force, as after a run that was killed; what it was, in words."""
    told = []
    processes_ = (ask(site.cluster.socket, "status") or {"processes": []})["processes"]
    if any(each["name"] == "kube-apiserver" and each["state"] == "stopped" for each in processes_):
        order(site, "start", "kube-apiserver")
        wait_until(lambda: is_answered(site), "the API server answers", 120)
        told.append("the API server was down")
    for node in site.cluster.nodes:
        if node.name in lab.current_cuts(site.cluster):
            lab.heal(site.cluster, node)
            told.append(f"{node.name} was cut off")
        if node.name in lab.crashed_nodes(site.cluster):
            lab.restart(site.cluster, node)
            told.append(f"{node.name} was down")
        if site.cluster.volume_size:
            in_node(site, node.name, f"rm -f {site.cluster.home(node) / 'volumes' / FILLER}")
    frozen = processes.stopped(processes_in(site.cluster))
    processes.thaw(frozen)
    told += [f"{len(frozen)} processes were stopped"] if frozen else []
    for node_ in site.get("nodes")["items"]:
        if node_["spec"].get("unschedulable"):
            site.kubectl("uncordon", node_["metadata"]["name"])
            told.append(f"{node_['metadata']['name']} was cordoned")
    told += ["the stack's spec was changed"] if restore_spec(site) else []
    return [*told, "the operator was away"] if bring_operator_back(site) else told


def is_answered(site: Site) -> bool:
    """Whether the API server answers."""
    try:
        site.get("namespace", site.namespace)
    except Trouble:
        return False
    return True
