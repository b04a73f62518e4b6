#!/usr/bin/env python3
"""Make version 3 of the sample registry, the net, and write what it must answer into expected.json.

usage: make_net.py OUT_DIR [TRAINER...]      (pip: numpy cbor2)

TRAINER is the command that trains, `cargo run --release --manifest-path services/train/Cargo.toml --` by default; it gets the
bundled data and a fixed seed. What the net must answer is computed here from the file's weights in float64: neither the
trainer nor the server is asked.
"""
import json, pathlib, struct, subprocess, sys
import cbor2, numpy as np

ROOT = pathlib.Path(sys.argv[1]) / "diabetes-rf-model"
MANIFEST = pathlib.Path(__file__).resolve().parents[3] / "services/train/Cargo.toml"
TRAINER = sys.argv[2:] or ["cargo", "run", "--release", "--manifest-path", str(MANIFEST), "--"]


def read(path):
    """Architecture and tensors of a burnpack file."""
    data = path.read_bytes()
    _, _, size = struct.unpack("<IHI", data[:10])
    metadata = cbor2.loads(data[10 : 10 + size])
    start = -(-(10 + size) // 256) * 256
    tensor = lambda t: np.frombuffer(data[start + t["data_offsets"][0] : start + t["data_offsets"][1]], "<f4").reshape(t["shape"])
    tensors = {name: tensor(t).astype(float) for name, t in metadata["tensors"].items()}
    return json.loads(metadata["metadata"]["forebay.architecture"]), tensors


def answer(net, rows):
    architecture, tensors = net
    x = (np.asarray(rows) - architecture["prepare"]["center"]) / architecture["prepare"]["scale"]
    for layer in architecture["layers"]:
        if "activation" in layer:
            assert layer["activation"] == "relu"
            x = np.maximum(x, 0)
        else:
            x = x @ tensors[layer["linear"] + ".weight"] + tensors[layer["linear"] + ".bias"]
    return x[:, 0] * architecture["target"]["scale"] + architecture["target"]["center"]


subprocess.run([*TRAINER, "--seed", "0", "--output", str(ROOT / "3"), "--force", "--quiet"], check=True)
net = read(ROOT / "3" / "model.bpk")
example = json.loads((ROOT / "3" / "input_example.json").read_text())["data"]
written = json.loads((ROOT / "3" / "example_output.json").read_text())
assert np.allclose(answer(net, example), written, rtol=1e-5, atol=1e-5), (answer(net, example), written)
expected = json.loads((ROOT / "expected.json").read_text())
expected["versions"]["3"] = {"exact": False, "predict": answer(net, expected["rows"]).tolist()}
(ROOT / "expected.json").write_text(json.dumps(expected) + "\n")
print("row", example[0], "version 3 answers", answer(net, example)[0])
