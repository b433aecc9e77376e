"""EC2's API and two instances' metadata services on one port, by moto and what stands beside this file.

    server.py --listen 127.0.0.1:0 [--policy ami/iam/tandem-pair-policy.json]

Prints "ready http://ADDRESS:PORT" when it answers, and ends with the end of its standard input, so that a test that dies
leaves none behind.
"""

import argparse
import json
import logging
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

import corrections
from front import Front


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--listen", default="127.0.0.1:0")
    arguments.add_argument("--policy", help="what the role of both hosts may do; absent: everything")
    arguments = arguments.parse_args()
    allowed = ["ec2:*"]
    if arguments.policy:
        with open(arguments.policy) as file:
            statements = json.load(file)["Statement"]
        # Actions only: resources are placeholders there.
        allowed = [action for statement in statements for action in statement["Action"]]
    corrections.install()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    front = Front(DomainDispatcherApplication(create_backend_app), allowed)
    address, _, port = arguments.listen.rpartition(":")
    server = make_server(address, int(port), front, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"ready http://{address}:{server.server_port}", flush=True)
    while sys.stdin.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
