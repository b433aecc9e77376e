"""What stands before moto: permissions, dry runs, faults, delays, the instance metadata service, and a way to steer it.

Everything under /tandem/ is for the tests (see README.md); /metadata/HOST/ is that host's metadata service; the rest is
the API.
"""

import fnmatch
import json
import secrets
import threading
import time
import urllib.parse
import uuid

from corrections import moves
from world import World

# API reference, "Common query parameters", DryRun: the answer to it is always an error, which says what would have been.
DRY_RUN = (412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
# Calls of ours that have no DryRun among their parameters (API reference, AssignPrivateIpAddresses); the API refuses a
# parameter that it does not know (API reference, error codes, "UnknownParameter").
NO_DRY_RUN = {"AssignPrivateIpAddresses"}
CALM = {"delay_ms": {}, "visible_ms": 0, "deny": [], "fail": [], "metadata_ms": 0, "metadata_status": 0, "role": True}


class Front:
    def __init__(self, moto, policy):
        self.moto = moto
        self.lock = threading.Lock()
        self.allowed = policy
        self.world = None
        self.faults = dict(CALM)
        self.seen = []
        self.tokens = {}

    def __call__(self, environ, start):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        path = environ["PATH_INFO"]
        try:
            if path.startswith("/tandem/"):
                answer = self.steer(environ, path.removeprefix("/tandem/"), body)
            elif path.startswith("/metadata/"):
                answer = self.metadata(environ, path)
            else:
                answer = self.api(environ, body)
        except Exception as error:  # Told to whoever asked: the server goes on.
            answer = (500, "text/plain", f"{type(error).__name__}: {error}", {})
        if answer is None:
            import io

            environ["wsgi.input"] = io.BytesIO(body)
            return self.moto(environ, start)
        status, kind, text, headers = answer
        data = text.encode()
        head = [("Content-Type", kind), ("Content-Length", str(len(data))), *headers.items()]
        start(f"{status} {'OK' if status == 200 else 'Answer'}", head)
        return [data]

    # --- Steering ---------------------------------------------------------------------------------------------------

    def steer(self, environ, what, body):
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        method = environ["REQUEST_METHOD"]
        if what == "world" and method == "POST":
            with self.lock:
                self.world, self.seen, self.faults = World(json.loads(body)), [], dict(CALM)
            return as_json(self.world.describe(f"http://{environ['HTTP_HOST']}"))
        if what == "faults" and method == "PUT":
            wanted = json.loads(body)
            if unknown := set(wanted) - set(CALM):
                return as_json({"unknown": sorted(unknown)}, 400)
            with self.lock:
                self.faults = {**CALM, **wanted}
                moves.visible_s = self.faults["visible_ms"] / 1000
            return as_json(self.faults)
        if what == "where":
            return as_json(self.world.ask(query["address"], query.get("not"), float(query.get("wait_ms", 0)) / 1000))
        if what == "seen":
            with self.lock:
                seen, self.seen = self.seen, ([] if method == "DELETE" else self.seen)
            return as_json(seen)
        return as_json({"unknown": what}, 404)

    def note(self, **what):
        with self.lock:
            self.seen.append(what)

    # --- The API ----------------------------------------------------------------------------------------------------

    def api(self, environ, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        action = form.get("Action", "")
        dry = form.get("DryRun") == "true"
        # "Credential=KEY/DATE/REGION/ec2/aws4_request": the metadata service gave each host a key of its own.
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        host = key.removeprefix("ASIA").lower() or None
        self.note(action=action, dry=dry, host=host)
        with self.lock:
            faults, failure = self.faults, self.failure(action, form)
        delay = faults["delay_ms"]
        time.sleep(delay.get(action, delay.get("*", 0)) / 1000)
        if failure:
            return error(failure.get("status", 503), failure["code"], failure.get("message", "as the test wants it"))
        name = f"ec2:{action}"
        allowed = any(fnmatch.fnmatchcase(name, one) for one in self.allowed)
        if not allowed or name in faults["deny"]:
            # User guide, "Troubleshooting IAM": 403 and this code; looked at before the request itself.
            return error(403, "UnauthorizedOperation", f"You are not authorized to perform this operation: {name}")
        if "DryRun" in form and action in NO_DRY_RUN:
            return error(400, "UnknownParameter", "The parameter DryRun is not recognized")
        if dry:
            return error(*DRY_RUN)
        return None

    def failure(self, action, form):
        """The first fault that fits, used up once."""
        for fault in self.faults["fail"]:
            fits = all(form.get(name) == value for name, value in fault.get("match", {}).items())
            if fault["action"] == action and fits and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    # --- Instance metadata ------------------------------------------------------------------------------------------

    def metadata(self, environ, path):
        """User guide, "Use IMDSv2": a token by PUT, with its lifetime in a header that the answer repeats; 401 without a
        token, as with HttpTokens = required; 404 for what there is not."""
        host, _, rest = path.removeprefix("/metadata/").partition("/")
        interface = self.world.hosts[host]
        faults = self.faults
        time.sleep(faults["metadata_ms"] / 1000)
        if faults["metadata_status"]:
            return plain(faults["metadata_status"])
        if rest == "latest/api/token":
            ttl = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
            self.note(metadata=rest, host=host, token=False, method=environ["REQUEST_METHOD"])
            if environ["REQUEST_METHOD"] != "PUT" or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
                return plain(400)
            token = secrets.token_urlsafe(40)
            self.tokens[token] = time.monotonic() + int(ttl)
            return plain(200, token, {"X-aws-ec2-metadata-token-ttl-seconds": ttl})
        token = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        sound = token is not None and self.tokens.get(token, 0) > time.monotonic()
        self.note(metadata=rest, host=host, token=sound, method=environ["REQUEST_METHOD"])
        if not sound:
            return plain(401)
        macs = f"network/interfaces/macs/{interface.mac_address}"
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
        credentials = {
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": ends,
            "AccessKeyId": f"ASIA{host.upper()}", "SecretAccessKey": "secret", "Token": "session",
        }
        known = {
            "placement/region": "eu-central-1",
            "network/interfaces/macs/": f"{interface.mac_address}/\n",
            f"{macs}/interface-id": interface.id,
            f"{macs}/vpc-id": interface.vpc_id,
            f"{macs}/subnet-id": interface.subnet_id,
            f"{macs}/local-ipv4s": "\n".join(item["PrivateIpAddress"] for item in interface.private_ip_addresses),
        }
        if faults["role"]:
            known["iam/security-credentials/"] = "tandem-pair"
            known["iam/security-credentials/tandem-pair"] = json.dumps(credentials)
        text = known.get(rest.removeprefix("latest/meta-data/"))
        return plain(404) if text is None else plain(200, text)


def as_json(value, status=200):
    return status, "application/json", json.dumps(value) + "\n", {}


def plain(status, text="", headers=None):
    return status, "text/plain", text, headers or {}


def error(status, code, message):
    """API reference, "Making API requests": how EC2 writes an error."""
    text = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        f"<RequestID>{uuid.uuid4()}</RequestID></Response>"
    )
    return status, "text/xml", text, {}
