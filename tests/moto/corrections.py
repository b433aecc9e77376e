"""What moto 5.2.5 gets wrong of the calls that move addresses, put right. Each rule names the page of AWS that says so.

A move can be made to take time: the API answers at once, and the Describe calls show it after `visible_s`, as the real
API does ("remapping an IP address is an asynchronous operation", API reference, AssignPrivateIpAddresses).
"""

import ipaddress
import threading

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_ip_addresses import ElasticAddress, ElasticAddressBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.route_tables import RouteBackend
from moto.ec2.responses.elastic_ip_addresses import ElasticIPAddresses
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.utils import random_eip_association_id


class Moves:
    """Applies moves, now or later, in the order in which they were asked for; tells `moved` after each."""

    def __init__(self):
        self.lock = threading.RLock()
        self.visible_s = 0.0
        self.moved = lambda: None

    def apply(self, change):
        def now():
            with self.lock:
                change()
                self.moved()

        if self.visible_s > 0:
            timer = threading.Timer(self.visible_s, now)
            timer.daemon = True
            timer.start()
        else:
            now()


moves = Moves()


def has(interface, address):
    return any(item.get("PrivateIpAddress") == address for item in interface.private_ip_addresses)


def assign(backend, interface_id, addresses, allow):
    """API reference, AssignPrivateIpAddresses.

    - AllowReassignment: whether an address that another interface has may be taken from it. Without it, an address
      that is in use is refused (user guide, "Secondary IP addresses": reassigning has to be allowed explicitly).
    - A primary address cannot be moved, and an address must lie in the interface's subnet (same page).
    - "When you move a secondary private IP address to another network interface, any Elastic IP address that is
      associated with the IP address is also moved": not modelled, no test has both.
    """
    taker = backend.get_network_interface(interface_id)
    subnet = ipaddress.ip_network(taker.subnet.cidr_block)
    for address in addresses:
        if ipaddress.ip_address(address) not in subnet:
            raise EC2ClientError("InvalidParameterValue", f"{address} is not in the subnet's range {subnet}.")
        owner = next((e for e in backend.enis.values() if e.vpc_id == taker.vpc_id and has(e, address)), None)
        if owner is None or (owner is taker and address != taker.private_ip_address):
            continue
        if not allow or owner.private_ip_address == address:
            raise EC2ClientError("InvalidParameterValue", f"[{address}] assigned, but move is not allowed.")

    def change():
        for interface in backend.enis.values():
            if interface is not taker and interface.vpc_id == taker.vpc_id:
                interface.private_ip_addresses = [
                    item for item in interface.private_ip_addresses if item.get("PrivateIpAddress") not in addresses
                ]
        for address in addresses:
            if not has(taker, address):
                taker.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": address})

    moves.apply(change)
    return taker


def assign_response(self):
    addresses = self._get_param("PrivateIpAddresses", [])
    # moto reads "true" as a truthy text, and "false" as well.
    allow = str(self._get_param("AllowReassignment", False)).lower() == "true"
    interface = assign(self.ec2_backend, self._get_param("NetworkInterfaceId"), addresses, allow)
    answer = [{"PrivateIpAddress": address} for address in addresses]
    return ActionResult({"NetworkInterfaceId": interface.id, "AssignedPrivateIpAddresses": answer})


def associate_response(self):
    """API reference, AssociateAddress.

    - PrivateIpAddress: which of the interface's addresses; moto ignores it and takes the primary one.
    - AllowReassociation false: an Elastic IP that is associated already is refused; the same association again is not
      ("this is an idempotent operation").
    """
    backend = self.ec2_backend
    interface = backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    private = self._get_param("PrivateIpAddress") or interface.private_ip_address
    elastic = backend.address_by_allocation([self._get_param("AllocationId")])[0]
    allow = str(self._get_param("AllowReassociation", False)).lower() == "true"
    if not has(interface, private):
        raise EC2ClientError("InvalidParameterValue", f"{interface.id} does not have the address {private}")
    same = elastic.eni is interface and elastic.private_ip_address == private
    if elastic.eni and not same and not allow:
        raise EC2ClientError("Resource.AlreadyAssociated", f"{elastic.public_ip} is associated already")
    association = elastic.association_id if same else random_eip_association_id()

    def change():
        if elastic.eni and elastic.eni is not interface:
            elastic.eni.public_ip = None
        elastic.eni, elastic.private, elastic.association_id = interface, private, association
        interface.public_ip = elastic.public_ip

    moves.apply(change)
    return ActionResult({"AssociationId": association})


def private_ip_address(self):
    """The address that AssociateAddress named."""
    return getattr(self, "private", self.eni.private_ip_address) if self.eni else None


def filter_value(original):
    def of(self, name, method=None):
        # API reference, DescribeNetworkInterfaces, Filters: "the private IPv4 addresses associated with the network
        # interface", all of them; moto looks at the primary one.
        if name == "addresses.private-ip-address":
            return [item.get("PrivateIpAddress") for item in self.private_ip_addresses]
        return original(self, name, method)

    return of


def replace_route(original):
    def later(self, route_table_id, destination_cidr_block, destination_ipv6_cidr_block=None, *args, **kwargs):
        # What cannot be is told at once, and only the change waits.
        table = self.get_route_table(route_table_id)
        wanted = destination_ipv6_cidr_block or destination_cidr_block
        if not any(wanted in (r.destination_cidr_block, r.destination_ipv6_cidr_block) for r in table.routes):
            # User guide, error codes, "InvalidRoute.NotFound"; AWS answers ReplaceRoute with InvalidParameterValue.
            raise EC2ClientError("InvalidParameterValue", f"There is no route defined for '{wanted}' in the route table.")
        if kwargs.get("interface_id"):
            self.get_network_interface(kwargs["interface_id"])
        moves.apply(
            lambda: original(self, route_table_id, destination_cidr_block, destination_ipv6_cidr_block, *args, **kwargs)
        )

    return later


def install():
    ElasticNetworkInterfaces.assign_private_ip_addresses = assign_response
    ElasticIPAddresses.associate_address = associate_response
    ElasticAddress.private_ip_address = property(private_ip_address)
    NetworkInterface.get_filter_value = filter_value(NetworkInterface.get_filter_value)
    RouteBackend.replace_route = replace_route(RouteBackend.replace_route)
