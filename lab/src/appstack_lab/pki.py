"""Makes the cluster's certificates: one authority for the cluster, one for the front proxy."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_lab.cluster import Cluster

LIFETIME = timedelta(days=3650)
SLACK = timedelta(hours=1)  # clocks differ
PUBLIC = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a certificate is for: file name, common name, group, and the names it serves under."""

    file: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()
    authority: str = "ca"


def build_subjects(cluster: Cluster) -> list[Subject]:
    """List every certificate of a cluster."""
    service = "kubernetes.default.svc"
    api_names = ("kubernetes", "kubernetes.default", service, f"{service}.cluster.local", "localhost")
    metrics = "metrics-server.kube-system.svc"
    subjects = [
        Subject("apiserver", "kube-apiserver", names=(cluster.gateway, cluster.api_service, *api_names)),
        Subject("apiserver-kubelet-client", "kube-apiserver-kubelet-client"),
        Subject("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        Subject("admin", "kubernetes-admin", "system:masters"),
        Subject("controller-manager", "system:kube-controller-manager"),
        Subject("scheduler", "system:kube-scheduler"),
        Subject("kube-proxy", "system:kube-proxy"),
        Subject("local-path-provisioner", "lab:local-path-provisioner"),
        Subject("metrics-server", "lab:metrics-server", names=(metrics, cluster.gateway)),
    ]
    for node in cluster.nodes:
        subjects.append(Subject(node.name, f"system:node:{node.name}", "system:nodes"))
        serving = Subject(f"{node.name}-serving", node.name, names=(cluster.address(node), node.name))
        subjects.append(serving)
    return subjects


def new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a private key and write it for root alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(PUBLIC, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(text)
    return key


def distinguished_name(subject: Subject) -> x509.Name:
    """Return the X.509 name: Kubernetes reads user and group from it."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]
    if subject.organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organization))
    return x509.Name(parts)


def key_usage(signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key is for: signing certificates, or the handshakes of TLS."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(text: str) -> x509.GeneralName:
    """Return an address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def start_certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """Begin a certificate with what all have in common."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + LIFETIME)
    )


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that signs for one cluster."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(self, subject: Subject, directory: Path) -> None:
        """Write key and certificate of a subject."""
        key = new_key(directory / f"{subject.file}.key")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = start_certificate(distinguished_name(subject), self.certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        # Strict clients, such as Python's since 3.13, want to read which key signed.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if subject.names:
            names = [general_name(name) for name in subject.names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (directory / f"{subject.file}.crt").write_bytes(certificate.public_bytes(PUBLIC))


def new_authority(file: str, directory: Path) -> Authority:
    """Make an authority and write its key and certificate."""
    key = new_key(directory / f"{file}.key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file)])
    builder = start_certificate(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    (directory / f"{file}.crt").write_bytes(certificate.public_bytes(PUBLIC))
    return Authority(certificate, key)


def write_pki(cluster: Cluster) -> None:
    """Write all keys and certificates of a new cluster."""
    cluster.pki.mkdir(parents=True, mode=0o700)
    authorities = {file: new_authority(file, cluster.pki) for file in ("ca", "front-proxy-ca")}
    for subject in build_subjects(cluster):
        authorities[subject.authority].sign(subject, cluster.pki)
    signing = new_key(cluster.pki / "service-accounts.key")
    public = signing.public_key().public_bytes(PUBLIC, serialization.PublicFormat.SubjectPublicKeyInfo)
    (cluster.pki / "service-accounts.pub").write_bytes(public)
