"""containerd's configuration and the pods' network configuration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appstack_lab.cluster import Cluster, Node

CNI_PLUGINS = "/usr/lib/cni"
CRI = "io.containerd.grpc.v1.cri"

# State lies at containerd's usual place, /run/containerd: /run is the node's own.
TEMPLATE = """\
version = 2
root = "{home}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"

[plugins."{cri}"]
  sandbox_image = "{pause}"
  # CAP_SYS_RESOURCE may be missing: then no score below our own can be set
  restrict_oom_score_adj = true
  # DNS listens on port 53 without being root
  enable_unprivileged_ports = true

  [plugins."{cri}".cni]
    bin_dir = "{plugins}"
    conf_dir = "{home}/cni"

  [plugins."{cri}".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."{cri}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."{cri}".containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
"""


def build_containerd_config(cluster: Cluster, node: Node, pause: str) -> str:
    """Write the TOML of a node's containerd; every inserted value is a path or a reference of ours."""
    return TEMPLATE.format(
        home=cluster.home(node), socket=cluster.containerd(node), cri=CRI, pause=pause, plugins=CNI_PLUGINS
    )


def build_cni_config(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Build the pods' network of a node: a bridge, addresses of the node's range, host ports."""
    return {
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{cluster.home(node)}/addresses",
                    "ranges": [[{"subnet": cluster.pods_of(node)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
