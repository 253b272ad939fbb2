"""Clients of HTTP/2 that know no gRPC library: Node's http2, curl, h2load."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fronts import handlers
from tests.fronts.peer import message

_NODE = """
const http2 = require('http2');
const [port, count] = process.argv.slice(1).map(Number);
const client = http2.connect('http://127.0.0.1:' + port, {
  maxSessionMemory: 100, settings: {headerTableSize: 0},
});
const frame = (body) => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
};
const call = (path, body) => new Promise((resolve, reject) => {
  const request = client.request({
    ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers',
  });
  const chunks = [];
  let status;
  request.on('response', (headers) => { status = headers['grpc-status']; });
  request.on('trailers', (headers) => { status = headers['grpc-status']; });
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => resolve([status, Buffer.concat(chunks).subarray(5)]));
  request.on('error', reject);
  request.end(frame(body));
});
(async () => {
  const bodies = Array.from({length: count}, (_, i) => Buffer.alloc(i * 997, i));
  const answers = await Promise.all(bodies.map((body) => call('/test.Service/Echo', body)));
  const right = answers.filter(([s, got], i) => s === '0' && got.equals(bodies[i])).length;
  const [unknown] = await call('/test.Service/None', Buffer.alloc(100000));
  const [, big] = await call('/test.Service/Big', Buffer.from('5000000'));
  await new Promise((resolve) => client.ping(resolve));
  console.log(JSON.stringify({right, unknown, big: big.length}));
  client.close();
})();
"""


def needs(command: str, package: str) -> None:
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed; it comes with the package {package}")


def test_node_is_served(own_port: int) -> None:
    needs("node", "nodejs")
    command = ["node", "-e", _NODE, str(own_port), "300"]
    done = subprocess.run(command, capture_output=True, timeout=40, check=True)
    assert json.loads(done.stdout) == {"right": 300, "unknown": "12", "big": 5_000_000}


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call"
    path.write_bytes(message(handlers.pattern(3_000)))
    return path


def test_curl_is_served_with_prior_knowledge(own_port: int, call: Path) -> None:
    needs("curl", "curl")
    url = f"http://127.0.0.1:{own_port}"
    command = ["curl", "-sS", "--http2-prior-knowledge", "--data-binary", f"@{call}"]
    grpc = ["-H", "content-type: application/grpc", f"{url}{handlers.ECHO}"]
    done = subprocess.run([*command, *grpc], capture_output=True, timeout=20, check=True)
    assert done.stdout == call.read_bytes()
    rest = ["-H", "content-type: application/json", f"{url}/path?a=b"]
    done = subprocess.run([*command, *rest], capture_output=True, timeout=20, check=True)
    shown = json.loads(done.stdout)
    assert (shown["size"], shown["host"]) == (3_005, f"127.0.0.1:{own_port}")
    head = ["curl", "-sSI", "--http2-prior-knowledge", f"{url}/path"]
    done = subprocess.run(head, capture_output=True, timeout=20, check=True)
    assert done.stdout.startswith(b"HTTP/2 200") and b"\ndate: " in done.stdout


@pytest.mark.parametrize(("connections", "streams"), [(1, 64), (16, 4), (4, 1_000)])
def test_no_request_of_many_fails(
    own_port: int, call: Path, connections: int, streams: int
) -> None:
    needs("h2load", "nghttp2-client")
    command = ["h2load", "-n", "10000", "-c", str(connections), "-m", str(streams), "-d", str(call)]
    command += [
        "-H",
        "content-type: application/grpc",
        f"http://127.0.0.1:{own_port}{handlers.ECHO}",
    ]
    done = subprocess.run(command, capture_output=True, timeout=50, check=True)
    assert b"10000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
