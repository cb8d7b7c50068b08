"""Which Go programs the lab builds, from which modules and with which flags. Pure.

Each group is a module under lab/go/ with `tool` directives and a committed go.sum, so that a build is
reproducible; `go install pkg@version` would refuse Kubernetes for its replace directives.
"""

from __future__ import annotations

from dataclasses import dataclass

KUBERNETES = "1.36.4"
GO_DIRECTIVE = "1.26.0"
STAGING = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
    "streaming",
]


@dataclass(frozen=True, slots=True)
class Group:
    """One Go module of lab/go and the programs built from it (program -> package)."""

    name: str
    module: str
    version: str
    programs: dict[str, str]
    tags: str = ""
    variables: tuple[str, ...] = ()  # linker -X settings
    replaces: tuple[str, ...] = ()
    godebug: str = ""
    default: bool = True  # built when no name is given


def kubernetes_variables(version: str) -> tuple[str, ...]:
    """Return the linker settings that make the components tell their version."""
    major, minor, _ = version.split(".")
    return tuple(
        f"{package}.{key}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for key, value in (
            ("gitVersion", f"v{version}"),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        )
    )


KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)

GROUPS = (
    Group(
        "kubernetes",
        "k8s.io/kubernetes",
        f"v{KUBERNETES}",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS},
        tags="selinux,notest,grpcnotrace",
        variables=kubernetes_variables(KUBERNETES),
        replaces=tuple(f"k8s.io/{name} => k8s.io/{name} v0.{KUBERNETES[2:]}" for name in STAGING),
        godebug="default=go1.26",
    ),
    Group("etcd", "go.etcd.io/etcd/server/v3", "v3.6.8", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Group("coredns", "github.com/coredns/coredns", "v1.14.7", {"coredns": "github.com/coredns/coredns"}),
    Group(
        "local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
        "v0.0.30",
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
    ),
    Group(
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        "v0.9.0",
        {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
    ),
    Group("helm", "helm.sh/helm/v4", "v4.3.1", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Group("pause", "", "", {"pause": "."}),
    Group("kwok", "sigs.k8s.io/kwok", "v0.8.0", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, default=False),
    Group("gitops", "", "", {"gitops-health": "."}, default=False),
)


def build_go_mod(group: Group) -> str:
    """Write the go.mod that a group starts from; `go mod tidy` adds what it requires in turn."""
    lines = [f"module appstack.dev/lab/{group.name}", "", f"go {GO_DIRECTIVE}"]
    if group.godebug:
        lines += ["", f"godebug {group.godebug}"]
    if group.module:
        lines += ["", f"require {group.module} {group.version}", ""]
        lines += [f"tool {package}" for package in group.programs.values()]
    if group.replaces:
        lines += ["", "replace (", *(f"\t{line}" for line in group.replaces), ")"]
    return "\n".join(lines) + "\n"


def build_flags(group: Group) -> list[str]:
    """Return the flags of `go build` for a group."""
    linker = " ".join(["-s -w", *(f"-X {variable}" for variable in group.variables)])
    tags = ["-tags", group.tags] if group.tags else []
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", *tags, "-ldflags", linker]
