"""Certificates that strict clients accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from appstack_lab.pki import Subject, new_authority

if TYPE_CHECKING:
    from pathlib import Path


def test_a_certificate_names_the_key_that_signed_it(tmp_path: Path) -> None:
    authority = new_authority("ca", tmp_path)
    authority.sign(Subject("server", "server", names=("server", "10.0.0.1")), tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    certificate.verify_directly_issued_by(authority.certificate)
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier == own.digest


def test_a_key_is_for_root_alone(tmp_path: Path) -> None:
    new_authority("ca", tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_addresses_and_names_are_told_apart(tmp_path: Path) -> None:
    authority = new_authority("ca", tmp_path)
    authority.sign(Subject("server", "server", names=("server", "10.0.0.1")), tmp_path)
    certificate = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
