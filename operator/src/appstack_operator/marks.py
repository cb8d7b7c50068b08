"""Which pods of a silent node are marked as not ready, and with which words. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from appstack_operator.assess.pods import NODE_SILENT
from appstack_operator.desired.stack import Stage
from appstack_operator.kinds import Ref
from appstack_operator.neighbours import places_of, to_take_out
from appstack_operator.objects import Object, component_of
from appstack_operator.plan import Action, Impact, Verb


def plan_marks(pods: Sequence[Object], silent: Mapping[str, str], now: datetime) -> list[Action]:
    """Mark ready pods of a stack that are silent together with their node (uid -> node), where others stand in.

    Not a part of `plan`: what answers changes within seconds, and a pass takes some.
    """
    chosen = {place.uid for place in to_take_out(places_of(pods), silent.keys())}
    return [mark(pod, silent[uid], now) for pod in pods if (uid := pod["metadata"]["uid"]) in chosen]


def mark(pod: Object, node: str, now: datetime) -> Action:
    """The pod as it was seen, with another word in its condition Ready: who has changed anything since is not hit."""
    why = f"node {node} does not answer, and other {component_of(pod)} pods stand in"
    said: Object = {
        "status": "False",
        "reason": NODE_SILENT,
        "message": f"{why}; told by the AppStack operator until kubelet says what is so",
        "lastTransitionTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
    conditions = [each | said if each["type"] == "Ready" else each for each in pod["status"]["conditions"]]
    version = {"resourceVersion": pod["metadata"]["resourceVersion"]}
    manifest: Object = {"metadata": version, "status": {"conditions": conditions}}
    uid = pod["metadata"]["uid"]
    return Action(Verb.MARK, Ref.of(pod), Impact.IN_PLACE, why, Stage.DATA_SERVICES, manifest, uid)
