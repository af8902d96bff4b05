"""What counts as an address of the internet at large."""

import ipaddress

import pytest

from sluicegate.access.addresses import is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"],
)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1"),
        *("192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fec0::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1"),
        pytest.param("::127.0.0.1", id="an IPv4 address in the old way"),
        pytest.param("::ffff:127.0.0.1", id="mapped"),
        pytest.param("::ffff:169.254.169.254", id="mapped, of a cloud"),
        pytest.param("64:ff9b::7f00:1", id="behind a translator"),
        pytest.param("64:ff9b:1::a00:1", id="behind a translator of one's own"),
        pytest.param("2002:a00:1::1", id="6to4"),
        pytest.param("2001:0:101:101::f5ff:fffe", id="Teredo"),
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
