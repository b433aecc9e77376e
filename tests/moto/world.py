"""The VPC that the tests play in: two hosts with an interface each, and the addresses that move between them.

Made from one JSON object, so that the laboratory can have its own addresses in it:

    {"vpc": "10.0.0.0/16",
     "hosts": {"a": {"subnet": "10.0.1.0/24", "mac": "02:00:00:00:00:0a", "addresses": ["10.0.1.10", "10.0.1.100"]},
               "b": {"subnet": "10.0.1.0/24", "mac": "02:00:00:00:00:0b", "addresses": ["10.0.1.11"]}},
     "elastic": {"203.0.113.10": ["a", "10.0.1.10"]},
     "routes": {"198.51.100.7/32": "a"}, "tables": 2, "source_dest_check": true}

The first address of a host is its primary one. Every route stands in every table.
"""

import ipaddress
import threading
import time

from moto.ec2.models import ec2_backends

from corrections import has, moves

ACCOUNT = "123456789012"
REGION = "eu-central-1"


class World:
    def __init__(self, shape):
        self.changed = threading.Condition()
        self.since = {}
        self.shown = {}
        ec2_backends.reset()
        self.backend = backend = ec2_backends[ACCOUNT][REGION]
        vpc = backend.create_vpc(shape["vpc"])
        self.hosts, subnets = {}, {}
        for name, host in shape["hosts"].items():
            cidr = host["subnet"]
            if cidr not in subnets:
                subnets[cidr] = backend.create_subnet(vpc.id, cidr, availability_zone=f"{REGION}a")
            first, *others = host["addresses"]
            items = [{"PrivateIpAddress": first, "Primary": True}]
            items += [{"PrivateIpAddress": other, "Primary": False} for other in others]
            interface = backend.create_network_interface(subnets[cidr], first, items)
            interface.mac_address = host["mac"]
            interface.source_dest_check = shape.get("source_dest_check", True)
            self.hosts[name] = interface
        self.elastic = {}
        for public, (host, private) in shape.get("elastic", {}).items():
            elastic = backend.allocate_address("vpc", address=public)
            elastic.eni, elastic.private, elastic.association_id = self.hosts[host], private, "eipassoc-0a"
            self.elastic[public] = elastic
        self.tables = [backend.create_route_table(vpc.id) for _ in range(shape.get("tables", 1))]
        self.routes = list(shape.get("routes", {}))
        for destination, host in shape.get("routes", {}).items():
            six = ipaddress.ip_network(destination).version == 6
            keys = {"destination_cidr_block": None, "destination_ipv6_cidr_block": destination}
            if not six:
                keys = {"destination_cidr_block": destination}
            for table in self.tables:
                backend.create_route(table.id, interface_id=self.hosts[host].id, **keys)
        self.vpc = vpc
        moves.visible_s = 0.0
        moves.moved = self.settle

    def describe(self, base):
        return {
            "region": REGION,
            "endpoint": base,
            "hosts": {
                name: {"interface": interface.id, "mac": interface.mac_address, "metadata": f"{base}/metadata/{name}"}
                for name, interface in self.hosts.items()
            },
            "elastic": {public: elastic.allocation_id for public, elastic in self.elastic.items()},
            "tables": [table.id for table in self.tables],
        }

    def host_of(self, interface):
        return next((name for name, own in self.hosts.items() if own is interface), None)

    def where(self, address):
        """(host, private address) that packets to `address` go to now: an Elastic IP, a routed or a private address."""
        if address in self.elastic:
            elastic = self.elastic[address]
            return (self.host_of(elastic.eni), elastic.private_ip_address) if elastic.eni else (None, None)
        wanted = ipaddress.ip_address(address)
        for destination in self.routes:
            if wanted in ipaddress.ip_network(destination):
                # The first table is where the callers are; tests of several tables ask the API.
                for route in self.tables[0].routes:
                    if destination in (route.destination_cidr_block, route.destination_ipv6_cidr_block):
                        return self.host_of(route.interface), address
        for name, interface in self.hosts.items():
            if has(interface, address):
                return name, address
        return None, None

    def settle(self):
        """After a change: whoever waits for it is woken, and when it was is kept."""
        with self.changed:
            for address, before in list(self.shown.items()):
                now = self.where(address)
                if now != before:
                    self.shown[address] = now
                    self.since[address] = time.monotonic()
            self.changed.notify_all()

    def ask(self, address, unlike, wait_s):
        """Where it is; with `unlike`, as soon as it is at another host than that, or after `wait_s`."""
        until = time.monotonic() + wait_s
        with self.changed:
            self.shown.setdefault(address, self.where(address))
            while self.where(address)[0] == unlike and unlike and time.monotonic() < until:
                self.changed.wait(until - time.monotonic())
            host, private = self.where(address)
            moved = self.since.get(address)
        return {
            "address": address,
            "host": host,
            "private": private,
            "moved_ms_ago": None if moved is None else round((time.monotonic() - moved) * 1000, 1),
        }
