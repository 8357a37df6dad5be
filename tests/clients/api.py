"""The HTTP API, over the local socket and over the network."""

import base64
import http.client
import json
import socket


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the local socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def local(server, method, path, body=None, headers=None):
    connection = UnixConnection(server.data / "control.sock")
    if isinstance(body, dict):
        body, headers = json.dumps(body), {"content-type": "application/json"} | (headers or {})
    try:
        connection.request(method, path, body=body, headers=headers or {})
    except BrokenPipeError:
        pass  # The answer came before all of the body was taken.
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def network(server, login, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(*server.address("http"), timeout=60)
    headers = dict(headers or {})
    if login:
        headers["authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    if isinstance(body, dict):
        body, headers["content-type"] = json.dumps(body), "application/json"
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if path.startswith("/api") else text
