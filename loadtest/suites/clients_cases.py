#!/usr/bin/env python3
"""Runs the official clients of other model servers, unmodified, against a running mesh with the sample model.

usage: clients_cases.py URL [GRPC_ADDRESS [CLASS...]]     (pip: clients_requirements.txt)

Every expected prediction comes from `/v1/predict` of the same server. Prints unittest's report, exits 1 if a test fails.
"""
import asyncio
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import zlib

import numpy as np

URL, GRPC = "http://127.0.0.1:8080", ""
MODEL = "diabetes-rf-model"
ROWS = np.array([
    [0.0380759, 0.0506801, 0.0616962, 0.0218723, -0.0442234, -0.0348207, -0.0434008, -0.0025922, 0.0199074, -0.0176461],
    [-0.0018820, -0.0446416, -0.0514740, -0.0263275, -0.0084487, -0.0191633, 0.0744115, -0.0394933, -0.0683315, -0.0922040],
    [0.0852989, 0.0506801, 0.0444512, -0.0056704, -0.0455994, -0.0341944, -0.0323559, -0.0025922, 0.0028613, -0.0259303],
])
NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def call(path, body=None, headers=None, method=None):
    """Status, headers and body of a request, whatever the status."""
    request = urllib.request.Request(URL + path, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def expected(rows, version=None):
    body = {"features": np.asarray(rows).tolist()} | ({"model_version": version} if version else {})
    status, _, answer = call("/v1/predict", json.dumps(body).encode(), {"content-type": "application/json"})
    assert status == 200, answer
    return np.array(json.loads(answer)["predictions"])


class TritonHttp(unittest.TestCase):
    def setUp(self):
        import tritonclient.http as triton

        self.triton = triton
        self.client = triton.InferenceServerClient(URL.split("://")[1])
        self.addCleanup(self.client.close)

    def tensor(self, rows, datatype="FP64", binary=True, name="input-0"):
        given = self.triton.InferInput(name, list(rows.shape), datatype)
        given.set_data_from_numpy(rows, binary_data=binary)
        return given

    def test_health_and_metadata(self):
        self.assertTrue(self.client.is_server_live() and self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(MODEL) and self.client.is_model_ready(MODEL, "1"))
        self.assertFalse(self.client.is_model_ready("absent") or self.client.is_model_ready(MODEL, "99"))
        server = self.client.get_server_metadata()
        self.assertIn("binary_tensor_data", server["extensions"])
        model = self.client.get_model_metadata(MODEL)
        self.assertEqual(model["inputs"], [{"name": "input-0", "datatype": "FP64", "shape": [-1, 10]}])
        config = self.client.get_model_config(MODEL)
        self.assertEqual((config["name"], config["input"][0]["data_type"], config["input"][0]["dims"]), (MODEL, "TYPE_FP64", [10]))
        self.assertEqual({(entry["version"], entry["state"]) for entry in self.client.get_model_repository_index()}, {(v, "READY") for v in "123"})
        self.client.load_model(MODEL)
        with self.assertRaisesRegex(Exception, "failed to unload .*repository.writable is off"):
            self.client.unload_model(MODEL)
        with self.assertRaisesRegex(Exception, "Request for unknown model"):
            self.client.get_model_metadata("absent")

    def test_statistics_grow(self):
        count = lambda: self.client.get_inference_statistics(MODEL, "1")["model_stats"][0]["inference_stats"]["success"]["count"]
        before = count()
        self.client.infer(MODEL, [self.tensor(ROWS)], model_version="1")
        self.assertEqual(count(), before + 1)

    def test_infer_in_every_mode(self):
        for version in ("", "1", "2", "3"):
            want = expected(ROWS, version or None)
            for binary_in in (True, False):
                for binary_out in (True, False, None):
                    outputs = None if binary_out is None else [self.triton.InferRequestedOutput("predict", binary_data=binary_out)]
                    result = self.client.infer(MODEL, [self.tensor(ROWS, binary=binary_in)], model_version=version, outputs=outputs, request_id="r1")
                    np.testing.assert_array_equal(result.as_numpy("predict"), want)
                    self.assertEqual(result.get_response()["id"], "r1")
                    self.assertEqual(result.get_response()["model_version"], version or "3")

    def test_compression_both_ways(self):
        want = expected(ROWS)
        for coding in ("gzip", "deflate"):
            result = self.client.infer(MODEL, [self.tensor(ROWS)], request_compression_algorithm=coding, response_compression_algorithm=coding)
            np.testing.assert_array_equal(result.as_numpy("predict"), want)

    def test_datatypes(self):
        for datatype, kind in [("FP32", np.float32), ("FP16", np.float16), ("INT64", np.int64), ("INT8", np.int8), ("UINT16", np.uint16), ("BOOL", bool)]:
            rows = (np.abs(ROWS) * 20).astype(kind)
            for binary in (True, False) if datatype != "FP16" else (True,):
                result = self.client.infer(MODEL, [self.tensor(rows, datatype, binary)])
                np.testing.assert_array_equal(result.as_numpy("predict"), expected(rows.astype(np.float64)))

    def test_a_tensor_for_each_column(self):
        for shape in ((3,), (3, 1)):
            columns = [self.tensor(ROWS[:, at].reshape(shape).copy(), name=name) for at, name in reversed(list(enumerate(NAMES)))]
            np.testing.assert_array_equal(self.client.infer(MODEL, columns).as_numpy("predict"), expected(ROWS))

    def test_what_is_wrong_is_refused_with_its_reason(self):
        short = ROWS[:, :9].copy()
        endless = ROWS.copy()
        endless[1, 2] = np.inf
        missing = ROWS.copy()
        missing[0, 0] = np.nan
        for rows, why in [(short, r"expected \[-1, 10\]"), (endless, "element 12 is not finite"), (missing, "missing")]:
            for binary in (True, False):
                with self.assertRaisesRegex(Exception, why):
                    self.client.infer(MODEL, [self.tensor(rows, binary=binary)])
        with self.assertRaisesRegex(Exception, "unexpected inference output"):
            self.client.infer(MODEL, [self.tensor(ROWS)], outputs=[self.triton.InferRequestedOutput("odds")])
        with self.assertRaisesRegex(Exception, "sequence"):
            self.client.infer(MODEL, [self.tensor(ROWS)], sequence_id=7)
        with self.assertRaisesRegex(Exception, "Request for unknown model"):
            self.client.infer("absent", [self.tensor(ROWS)])
        self.assertTrue(self.client.is_server_live())

    def test_priority_and_timeout(self):
        result = self.client.infer(MODEL, [self.tensor(ROWS)], priority=1, timeout=5_000_000)
        np.testing.assert_array_equal(result.as_numpy("predict"), expected(ROWS))
        with self.assertRaises(Exception):
            self.client.infer(MODEL, [self.tensor(ROWS + np.random.rand())], timeout=1)

    def test_async_infer_and_classification(self):
        pending = [self.client.async_infer(MODEL, [self.tensor(ROWS)]) for _ in range(4)]
        for request in pending:
            np.testing.assert_array_equal(request.get_result().as_numpy("predict"), expected(ROWS))
        best = self.client.infer(MODEL, [self.tensor(ROWS)], outputs=[self.triton.InferRequestedOutput("predict", class_count=1)])
        self.assertEqual([float(text.decode().split(":")[0]) for text in best.as_numpy("predict").ravel()], expected(ROWS).tolist())


class TritonAsyncio(unittest.TestCase):
    def test_infer(self):
        import tritonclient.http.aio as triton

        async def run():
            async with triton.InferenceServerClient(URL.split("://")[1]) as client:
                assert await client.is_server_ready() and await client.is_model_ready(MODEL)
                answers = []
                for binary in (True, False):
                    for coding in (None, "gzip", "deflate"):
                        given = triton.InferInput("x", list(ROWS.shape), "FP64")
                        given.set_data_from_numpy(ROWS, binary_data=binary)
                        result = await client.infer(MODEL, [given], request_compression_algorithm=coding, response_compression_algorithm=coding)
                        answers.append(result.as_numpy("predict"))
                return answers

        for answer in asyncio.run(run()):
            np.testing.assert_array_equal(answer, expected(ROWS))


class KServe(unittest.TestCase):
    def test_the_sdk_with_protocol_v2(self):
        from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

        async def run():
            client = InferenceRESTClient(RESTConfig(protocol="v2"))
            assert await client.is_server_live(URL) and await client.is_server_ready(URL)
            assert await client.is_model_ready(URL, MODEL)
            answers = []
            for as_binary in (False, True):
                given = InferInput("x", list(ROWS.shape), "FP64")
                given.set_data_from_numpy(ROWS, binary_data=as_binary)
                request = InferRequest(model_name=MODEL, infer_inputs=[given])
                answers.append((await client.infer(URL, request, model_name=MODEL)).outputs[0].as_numpy())
            return answers

        for answer in asyncio.run(run()):
            np.testing.assert_array_equal(answer, expected(ROWS))


    def test_the_sdk_over_grpc(self):
        if not GRPC:
            self.skipTest("no address of the gRPC server")
        from kserve import InferInput, InferRequest, InferenceGRPCClient

        async def run():
            client = InferenceGRPCClient(GRPC)
            assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(MODEL)
            given = InferInput("x", list(ROWS.shape), "FP64")
            given.set_data_from_numpy(ROWS, binary_data=True)
            answer = await client.infer(InferRequest(model_name=MODEL, infer_inputs=[given]))
            return answer.outputs[0].as_numpy()

        np.testing.assert_array_equal(asyncio.run(run()), expected(ROWS))

    def test_the_sdk_with_protocol_v1(self):
        from kserve import InferenceRESTClient, RESTConfig

        async def run():
            client = InferenceRESTClient(RESTConfig(protocol="v1"))
            assert await client.is_server_live(URL)
            assert await client.is_model_ready(URL, MODEL)
            rows = [ROWS.tolist(), [dict(zip(NAMES, row)) for row in ROWS.tolist()]]
            return [await client.infer(URL, {"instances": instances}, model_name=MODEL) for instances in rows]

        for answer in asyncio.run(run()):
            self.assertEqual(answer, {"predictions": expected(ROWS).tolist()})


class Http2(unittest.TestCase):
    """HTTP/2 with prior knowledge, on the port of HTTP/1."""

    BODY = {"features": ROWS.tolist()}

    def test_httpx(self):
        import httpx

        async def run():
            async with httpx.AsyncClient(http1=False, http2=True, timeout=30) as client:
                return await asyncio.gather(*[client.post(f"{URL}/v1/predict", json=self.BODY) for _ in range(250)])

        for answer in asyncio.run(run()):
            self.assertEqual((answer.http_version, answer.status_code), ("HTTP/2", 200))
            np.testing.assert_array_equal(answer.json()["predictions"], expected(ROWS))
        with httpx.Client(http1=False, http2=True) as client:
            self.assertEqual(client.get(f"{URL}/openapi.json").json()["info"]["title"], "Forebay")
            self.assertEqual((client.head(f"{URL}/openapi.json").content, client.get(f"{URL}/absent").status_code), (b"", 404))

    def test_curl(self):
        for option, version in (("--http2-prior-knowledge", "2"), ("--http2", "1.1"), ("--http1.1", "1.1")):
            command = ["curl", "-s", option, "-w", "\n%{http_version}", f"{URL}/v1/predict", "-d", json.dumps(self.BODY)]
            answer, spoken = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.rsplit("\n", 1)
            self.assertEqual((json.loads(answer)["predictions"], spoken), (expected(ROWS).tolist(), version))

    def test_the_sdk_of_kserve(self):
        from kserve import InferenceRESTClient, RESTConfig

        async def run():
            client = InferenceRESTClient(RESTConfig(protocol="v1", http2=True))
            return await client.infer(URL, {"instances": ROWS.tolist()}, model_name=MODEL)

        self.assertEqual(asyncio.run(run()), {"predictions": expected(ROWS).tolist()})


class TritonGrpc(unittest.TestCase):
    def setUp(self):
        import tritonclient.grpc as triton

        if not GRPC:
            self.skipTest("no address of the gRPC server")
        self.triton = triton
        self.client = triton.InferenceServerClient(GRPC)
        self.addCleanup(self.client.close)

    def test_reflection(self):
        import grpc
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

        with grpc.insecure_channel(GRPC) as channel:
            found = ProtoReflectionDescriptorDatabase(channel)
            self.assertIn("inference.GRPCInferenceService", found.get_services())
            methods = found.FindFileContainingSymbol("inference.GRPCInferenceService").service[0].method
            self.assertIn("ModelInfer", [method.name for method in methods])

    def tensor(self, rows, datatype="FP64", name="input-0"):
        given = self.triton.InferInput(name, list(rows.shape), datatype)
        given.set_data_from_numpy(rows)
        return given

    def test_health_and_metadata(self):
        self.assertTrue(self.client.is_server_live() and self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(MODEL) and self.client.is_model_ready(MODEL, "1"))
        self.assertFalse(self.client.is_model_ready("absent"))
        model = self.client.get_model_metadata(MODEL, as_json=True)
        self.assertEqual(model["inputs"], [{"name": "input-0", "datatype": "FP64", "shape": ["-1", "10"]}])
        config = self.client.get_model_config(MODEL, as_json=True)["config"]
        self.assertEqual((config["name"], config["input"][0]["data_type"], config["input"][0]["dims"]), (MODEL, "TYPE_FP64", ["10"]))
        index = self.client.get_model_repository_index(as_json=True)["models"]
        self.assertEqual({(entry["version"], entry["state"]) for entry in index}, {(v, "READY") for v in "123"})
        self.client.load_model(MODEL)
        self.assertIn("binary_tensor_data", self.client.get_server_metadata().extensions)

    def test_infer(self):
        for version in ("", "1"):
            for coding in (None, "gzip", "deflate"):
                result = self.client.infer(MODEL, [self.tensor(ROWS)], model_version=version, request_id="r1", compression_algorithm=coding)
                np.testing.assert_array_equal(result.as_numpy("predict"), expected(ROWS, version or None))
                self.assertEqual(result.get_response().id, "r1")
        single = self.client.infer(MODEL, [self.tensor(ROWS.astype(np.float32), "FP32")])
        np.testing.assert_array_equal(single.as_numpy("predict"), expected(ROWS.astype(np.float32).astype(np.float64)))

    def test_statistics_grow(self):
        count = lambda: self.client.get_inference_statistics(MODEL, "2").model_stats[0].inference_stats.success.count
        before = count()
        self.client.infer(MODEL, [self.tensor(ROWS)], model_version="2")
        self.assertEqual(count(), before + 1)

    def test_errors_have_a_code(self):
        from tritonclient.utils import InferenceServerException

        def code(call):
            with self.assertRaises(InferenceServerException) as failed:
                call()
            return failed.exception.status()

        infer = lambda model=MODEL, rows=ROWS, **more: code(lambda: self.client.infer(model, [self.tensor(rows)], **more))
        self.assertEqual(infer(model="absent"), "StatusCode.NOT_FOUND")
        self.assertEqual(infer(rows=ROWS[:, :9].copy()), "StatusCode.INVALID_ARGUMENT")
        self.assertEqual(infer(sequence_id=5), "StatusCode.INVALID_ARGUMENT")
        self.assertEqual(infer(rows=np.zeros((500, 300))), "StatusCode.RESOURCE_EXHAUSTED")
        self.assertEqual(code(lambda: self.client.get_trace_settings()), "StatusCode.UNIMPLEMENTED")
        self.assertEqual(code(lambda: self.client.get_system_shared_memory_status()), "StatusCode.UNIMPLEMENTED")

    def test_a_stream_is_answered_in_order(self):
        import queue

        answers = queue.Queue()
        self.client.start_stream(callback=lambda result, error: answers.put((result, error)))
        rows = [ROWS + step for step in range(20)]
        for number, given in enumerate(rows):
            self.client.async_stream_infer("absent" if number == 7 else MODEL, [self.tensor(given)], request_id=str(number))
        for number, given in enumerate(rows):
            result, error = answers.get(timeout=30)
            if number == 7:
                self.assertIn("Request for unknown model", str(error))
                continue
            self.assertEqual(result.get_response().id, str(number))
            np.testing.assert_array_equal(result.as_numpy("predict"), expected(given))
        self.client.stop_stream()

    def test_generated_stubs_with_typed_contents(self):
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        with grpc.insecure_channel(GRPC) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelInferRequest(model_name=MODEL)
            given = request.inputs.add(name="x", datatype="FP64", shape=ROWS.shape)
            given.contents.fp64_contents.extend(ROWS.ravel())
            answer = stub.ModelInfer(request, timeout=10)
            self.assertEqual(list(answer.outputs[0].contents.fp64_contents), expected(ROWS).tolist())
            # the standard health check, without its generated stubs: an empty message, and SERVING is 1
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            until = time.monotonic() + 10
            while check(b"", timeout=10) != b"\x08\x01" and time.monotonic() < until:
                time.sleep(0.1)  # it follows the server's own health a moment later
            self.assertEqual(check(b"", timeout=10), b"\x08\x01")
            # whichever of the two clocks is first, and a server as near as this one may still be in time
            codes = set()
            for number in range(50):
                request.inputs[0].contents.fp64_contents[0] = 0.5 + number
                try:
                    stub.ModelInfer(request, timeout=0.00001)
                except grpc.RpcError as late:
                    codes.add(late.code())
            self.assertEqual(codes, {grpc.StatusCode.DEADLINE_EXCEEDED})


class GrpcCredentials(unittest.TestCase):
    """Against a server with API keys: the key is in `API_KEY`."""

    def test_calls_need_the_key_except_for_health(self):
        import os

        import tritonclient.grpc as triton
        from tritonclient.utils import InferenceServerException

        client = triton.InferenceServerClient(GRPC)
        self.addCleanup(client.close)
        given = triton.InferInput("x", list(ROWS.shape), "FP64")
        given.set_data_from_numpy(ROWS)
        self.assertTrue(client.is_server_live() and client.is_server_ready())
        for headers in ({}, {"x-api-key": "fby_wrong"}):
            for call in (
                lambda: client.infer(MODEL, [given], headers=headers),
                lambda: client.get_model_metadata(MODEL, headers=headers),
                lambda: client.get_inference_statistics(headers=headers),
                lambda: client.get_model_repository_index(headers=headers),
            ):
                with self.assertRaises(InferenceServerException) as failed:
                    call()
                self.assertEqual(failed.exception.status(), "StatusCode.UNAUTHENTICATED")
        for headers in ({"x-api-key": os.environ["API_KEY"]}, {"authorization": f"Bearer {os.environ['API_KEY']}"}):
            self.assertEqual(client.infer(MODEL, [given], headers=headers).as_numpy("predict").shape, (3,))
            self.assertEqual(client.get_model_metadata(MODEL, headers=headers).name, MODEL)


class GrpcOverTls(unittest.TestCase):
    """Against a server with TLS and API keys: the authority's file is in `CA_FILE`, the key in `API_KEY`."""

    def setUp(self):
        import os

        self.ca, self.key = os.environ["CA_FILE"], os.environ["API_KEY"]

    def test_triton_and_a_client_that_asks_for_the_methods(self):
        import grpc
        import tritonclient.grpc as triton
        from tritonclient.utils import InferenceServerException

        with triton.InferenceServerClient(GRPC, ssl=True, root_certificates=self.ca) as client:
            given = triton.InferInput("x", list(ROWS.shape), "FP64")
            given.set_data_from_numpy(ROWS)
            headers = {"x-api-key": self.key}
            self.assertTrue(client.is_server_ready())
            self.assertEqual(client.infer(MODEL, [given], headers=headers).as_numpy("predict").shape, (3,))
            self.assertEqual(client.get_model_metadata(MODEL, headers=headers).name, MODEL)
            with self.assertRaises(InferenceServerException) as failed:
                client.infer(MODEL, [given])
            self.assertEqual(failed.exception.status(), "StatusCode.UNAUTHENTICATED")
        with open(self.ca, "rb") as file, grpc.secure_channel(GRPC, grpc.ssl_channel_credentials(file.read())) as channel:
            # as grpcurl begins: `list_services: "*"` of the reflection service, without its generated stubs
            ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            answer = next(ask(iter([b"\x3a\x01*"]), timeout=10))
            self.assertIn(b"inference.GRPCInferenceService", answer)
            self.assertIn(b"grpc.health.v1.Health", answer)
            described = next(ask(iter([b"\x22\x1einference.GRPCInferenceService"]), timeout=10))
            self.assertIn(b"ModelStreamInfer", described)
        with triton.InferenceServerClient(GRPC) as plain, self.assertRaises(InferenceServerException):
            plain.is_server_live(client_timeout=5)


class TypedModels(unittest.TestCase):
    """Against a server with the models of typed_models.py; what they answer is in the file `EXPECTED`."""

    def setUp(self):
        import os

        with open(os.environ["EXPECTED"], encoding="utf-8") as file:
            self.expected = json.load(file)

    def clients(self):
        import tritonclient.grpc
        import tritonclient.http

        for triton, address in ((tritonclient.http, URL.split("://")[1]), (tritonclient.grpc, GRPC)):
            with triton.InferenceServerClient(address) as client:
                yield triton, client

    def metadata(self, client, model):
        as_json = {} if "http" in type(client).__module__ else {"as_json": True}
        described = client.get_model_metadata(model, **as_json)
        tensor = lambda it: (it["name"], it["datatype"], [int(size) for size in it["shape"]])
        return [[tensor(it) for it in described[side]] for side in ("inputs", "outputs")]

    def test_labels_and_columns_have_their_types(self):
        numbers = [("predict_proba", "FP64", [-1, 3]), ("decision_function", "FP64", [-1, 3])]
        columns = [("age", "INT64", [-1, 1]), ("city", "BYTES", [-1, 1]), ("member", "BOOL", [-1, 1]), ("income", "FP64", [-1, 1])]
        binary = [("predict", "BOOL", [-1]), ("predict_proba", "FP64", [-1, 2]), ("decision_function", "FP64", [-1])]
        kinds = {"INT64": np.int64, "BYTES": object, "BOOL": bool, "FP64": np.float64}
        for triton, client in self.clients():
            self.assertEqual(self.metadata(client, "iris"), [[("input-0", "FP64", [-1, 4])], [("predict", "INT64", [-1]), *numbers]])
            self.assertEqual(self.metadata(client, "churn"), [columns, binary])
            for model, kind in (("iris", np.int64), ("churn", bool)):
                want = self.expected[model]
                if model == "iris":
                    tensors = [("x", "FP64", np.array(list(want["columns"].values())).T.copy())]
                else:
                    tensors = [(name, datatype, np.array(want["columns"][name], dtype=kinds[datatype]).reshape(-1, 1)) for name, datatype, _ in columns]
                given = []
                for name, datatype, values in tensors:
                    given.append(triton.InferInput(name, list(values.shape), datatype))
                    given[-1].set_data_from_numpy(values)
                labels = client.infer(model, given).as_numpy("predict")
                self.assertEqual((labels.dtype, labels.tolist()), (kind, want["predict"]))
                wanted = lambda *names: [triton.InferRequestedOutput(name) for name in names]
                both = client.infer(model, given, outputs=wanted("predict_proba", "predict"))
                np.testing.assert_allclose(both.as_numpy("predict_proba"), want["predict_proba"], rtol=1e-9, atol=1e-12)
                self.assertEqual(both.as_numpy("predict").tolist(), want["predict"])
                decided = client.infer(model, given, outputs=wanted("decision_function")).as_numpy("decision_function")
                np.testing.assert_allclose(decided, want["decision_function"], rtol=1e-9, atol=1e-12)
                every = client.infer(model, given, outputs=wanted("predict", "predict_proba", "decision_function"))
                self.assertEqual(every.as_numpy("predict").tolist(), want["predict"])
                for name in ("predict_proba", "decision_function"):
                    np.testing.assert_allclose(every.as_numpy(name), want[name], rtol=1e-9, atol=1e-12)


class SageMaker(unittest.TestCase):
    def setUp(self):
        import boto3
        from botocore.config import Config

        config = Config(retries={"max_attempts": 1})
        secrets = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        self.client = boto3.client("sagemaker-runtime", endpoint_url=URL, region_name="eu-west-1", config=config, **secrets)

    def test_invoke_endpoint(self):
        for body, kind in [
            ({"instances": ROWS.tolist()}, "application/json"),
            ({"dataframe_split": {"columns": NAMES, "data": ROWS.tolist()}}, "application/json; charset=utf-8"),
        ]:
            answer = self.client.invoke_endpoint(EndpointName=MODEL, Body=json.dumps(body), ContentType=kind)
            self.assertEqual(json.loads(answer["Body"].read()), {"predictions": expected(ROWS).tolist()})
            self.assertEqual(answer["InvokedProductionVariant"], "v3")
        table = "\n".join(",".join(map(str, row)) for row in [NAMES, *ROWS.tolist()])
        answer = self.client.invoke_endpoint(EndpointName=MODEL, Body=table, ContentType="text/csv")
        self.assertEqual(json.loads(answer["Body"].read())["predictions"], expected(ROWS).tolist())

    def test_errors_reach_the_caller(self):
        from botocore.exceptions import ClientError

        for name, body, status in [("absent", "{}", 404), (MODEL, "{}", 400), (MODEL, "{", 400)]:
            with self.assertRaises(ClientError) as failed:
                self.client.invoke_endpoint(EndpointName=name, Body=body, ContentType="application/json")
            self.assertEqual(failed.exception.response["ResponseMetadata"]["HTTPStatusCode"], status)


class Tables(unittest.TestCase):
    """Protocols whose clients are a few lines of HTTP."""

    def post(self, path, document):
        status, _, body = call(path, json.dumps(document).encode(), {"content-type": "application/json"})
        return status, json.loads(body)

    def test_kserve_v1(self):
        want = {"predictions": expected(ROWS, "v1").tolist()}
        columns = {name: ROWS[:, at].tolist() for at, name in enumerate(NAMES)}
        for document in ({"instances": ROWS.tolist()}, {"inputs": ROWS.tolist()}, {"inputs": columns}):
            self.assertEqual(self.post(f"/v1/models/{MODEL}/versions/1:predict", document), (200, want))
        status = json.loads(call(f"/v1/models/{MODEL}")[2])
        self.assertEqual((status["name"], status["ready"], status["model_version_status"][0]["state"]), (MODEL, True, "AVAILABLE"))
        self.assertEqual(self.post("/v1/models/absent:predict", {"instances": []})[0], 404)
        for document in ({}, {"instances": []}, {"instances": [1], "inputs": [1]}, {"instances": [[1, 2]]}):
            status, answer = self.post(f"/v1/models/{MODEL}:predict", document)
            self.assertEqual((status, list(answer)), (400, ["error"]))

    def test_seldon_v1(self):
        want = expected(ROWS).tolist()
        for path in ("/api/v1.0/predictions", f"/seldon/any/{MODEL}/api/v1.0/predictions"):
            status, answer = self.post(path, {"data": {"names": NAMES, "ndarray": ROWS.tolist()}})
            self.assertEqual((status, answer["data"]["ndarray"]), (200, want))
            tensor = {"shape": list(ROWS.shape), "values": ROWS.ravel().tolist()}
            status, answer = self.post(path, {"data": {"tensor": tensor}})
            self.assertEqual((status, answer["data"]["tensor"]), (200, {"shape": [3], "values": want}))
        status, answer = self.post("/api/v1.0/predictions", {"strData": "x"})
        self.assertEqual((status, answer["status"]["status"]), (400, "FAILURE"))

    def test_mlflow(self):
        want = (200, {"predictions": expected(ROWS).tolist()})
        records = [dict(zip(NAMES, row)) for row in ROWS.tolist()]
        for document in ({"dataframe_records": records}, {"dataframe_split": {"columns": NAMES, "index": [0, 1, 2], "data": ROWS.tolist()}}):
            self.assertEqual(self.post("/invocations", document), want)
            self.assertEqual(self.post(f"/models/{MODEL}/invocations", document), want)
        self.assertEqual([call(path)[0] for path in ("/ping", "/health", "/version")], [200, 200, 200])
        status, answer = self.post("/invocations", {"dataframe_records": [{"age": 1}]})
        self.assertEqual((status, answer["error_code"]), (400, "BAD_REQUEST"))
        self.assertIn("missing inputs", answer["message"])


class Documentation(unittest.TestCase):
    """The examples of docs/clients.md, each in a process of its own."""

    def test_every_example_prints_the_prediction(self):
        page = pathlib.Path(__file__).parents[2] / "docs/clients.md"
        examples = re.findall(r"^```(python|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        examples = [(kind, text.replace("127.0.0.1:8081", GRPC)) for kind, text in examples if GRPC or "8081" not in text]
        want = expected([[0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]])[0]
        self.assertGreaterEqual(len(examples), 5)
        for kind, text in examples:
            text = re.sub(r"(127\.0\.0\.1|localhost):8080", URL.split("://")[1], text)
            command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-c", text]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(ran.returncode, 0, f"{text}\n{ran.stderr}")
            printed = [float(number) for number in re.findall(r"\d+\.\d+", ran.stdout)]
            self.assertTrue(any(abs(number - want) < 1e-6 for number in printed), f"{text}\n{ran.stdout}, expected {want}")


class Examples(unittest.TestCase):
    """docs/examples/http, each with the tools of its language if they are there."""

    FOLDER = pathlib.Path(__file__).parents[2] / "docs/examples/http"

    def prints_the_prediction(self, *command, tools=(), folder=None):
        missing = [tool for tool in tools if not shutil.which(tool)]
        if missing:
            self.skipTest(f"no {missing[0]}")
        environment = os.environ | {"FOREBAY_URL": URL, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        ran = subprocess.run(command, cwd=folder or self.FOLDER, env=environment, capture_output=True, text=True, timeout=240)
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
        want = expected([[0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]])[0]
        printed = [float(number) for number in re.findall(r"\d+\.\d+", ran.stdout)]
        self.assertTrue(any(abs(number - want) < 1e-6 for number in printed), f"{ran.stdout}, expected {want}")

    def test_curl(self):
        self.prints_the_prediction("bash", "predict.sh", tools=["curl"])

    def test_go(self):
        self.prints_the_prediction("go", "run", "predict.go", tools=["go"])

    def test_java(self):
        self.prints_the_prediction("java", "Predict.java", tools=["javac"])

    def test_typescript(self):
        node = os.environ.get("REAL_OPENAPI_NODE")
        tsc = str(pathlib.Path(node) / "node_modules/.bin/tsc") if node else "tsc"
        if not shutil.which(tsc):
            self.skipTest("no tsc")
        with tempfile.TemporaryDirectory() as folder:
            options = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
            # compiled as a module, like the package that a project has
            (pathlib.Path(folder) / "package.json").write_text('{"type": "module"}')
            shutil.copy(self.FOLDER / "predict.ts", folder)
            made = subprocess.run([tsc, *options, "predict.ts"], cwd=folder, capture_output=True, text=True, timeout=240)
            self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
            self.prints_the_prediction("node", "predict.js", tools=["node"], folder=folder)


class PlainHttp(unittest.TestCase):
    """What other clients send, byte for byte."""

    def infer(self, body, headers=None):
        return call(f"/v2/models/{MODEL}/infer?test_1=1", body, headers)

    def document(self, **changes):
        tensor = {"name": "x", "shape": [1, 10], "datatype": "FP64", "data": ROWS[0].tolist()} | changes
        return json.dumps({"id": "", "model_name": MODEL, "inputs": [tensor]}).encode()

    def test_content_types_do_not_matter(self):
        for kind in ("application/json", "application/octet-stream", "text/plain", ""):
            status, headers, body = self.infer(self.document(), {"content-type": kind})
            self.assertEqual((status, headers["content-type"]), (200, "application/json"), body)
            self.assertNotIn("id", json.loads(body))
        self.assertEqual(self.infer(b"\xef\xbb\xbf" + self.document())[0], 200)

    def test_errors_are_json_with_a_text(self):
        huge = b'{"inputs":[{"name":"x","shape":[1,10],"datatype":"FP64","data":' + b"[" * 101 + b"1" + b"]" * 101 + b"}]}"
        for body, headers, status in [
            (b"", {}, 400),
            (b"{", {}, 400),
            (huge, {}, 400),
            (self.document(shape=[2**62, 10]), {}, 400),
            (self.document(shape=[-1, 10]), {}, 400),
            (self.document(datatype="FP16"), {}, 400),
            (self.document(), {"inference-header-content-length": "-1"}, 400),
            (self.document(), {"inference-header-content-length": "2147483648"}, 400),
            (self.document(), {"inference-header-content-length": "5"}, 400),
            (self.document(), {"content-encoding": "br"}, 415),
            (b"x" * (1 << 21), {}, 413),
        ]:
            got, answer_headers, answer = self.infer(body, headers)
            self.assertEqual((got, answer_headers["content-type"], list(json.loads(answer))), (status, "application/json", ["error"]), body[:200])
        status, headers, body = call(f"/v2/models/{MODEL}/infer")
        self.assertEqual((status, headers["allow"], list(json.loads(body))), (405, "POST", ["error"]))
        self.assertEqual(call("/v2/systemsharedmemory/status")[0], 501)

    def test_compressed_bodies(self):
        want = self.infer(self.document())[2]
        for coding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress)):
            self.assertEqual(self.infer(compress(self.document()), {"content-encoding": coding})[2], want)
        status, headers, body = self.infer(self.document(), {"accept-encoding": "gzip"})
        self.assertEqual((status, headers["content-encoding"], gzip.decompress(body)), (200, "gzip", want))
        status, _, body = call("/v1/predict", gzip.compress(b'{"features":[1,2,3,4,5,6,7,8,9,10]}'), {"content-encoding": "gzip"})
        self.assertEqual(status, 200, body)

    def test_a_raw_request_is_the_whole_body(self):
        status, headers, body = self.infer(ROWS.tobytes(), {"inference-header-content-length": "0"})
        at = int(headers["inference-header-content-length"])
        np.testing.assert_array_equal(np.frombuffer(body[at:]), expected(ROWS))

    def test_head_is_answered_like_get(self):
        for path in ("/", "/v2", "/v2/health/ready", f"/v2/models/{MODEL}", "/v1/models", "/openapi.json"):
            self.assertEqual(call(path, method="HEAD")[0], 200, path)


if __name__ == "__main__":
    URL = sys.argv[1].rstrip("/")
    GRPC = sys.argv[2] if len(sys.argv) > 2 else ""
    if len(sys.argv) > 3:
        unittest.main(argv=["clients_cases", *sys.argv[3:]], verbosity=2)
    # Triton's and KServe's clients bring the same protobuf messages, so one process can load only one of them
    cases = [name for name, case in list(globals().items()) if isinstance(case, type) and issubclass(case, unittest.TestCase)]
    others = [name for name in cases if name not in ("TritonGrpc", "GrpcCredentials", "GrpcOverTls", "TypedModels")]
    runs = [subprocess.call([sys.executable, __file__, URL, GRPC, *names]) for names in (["TritonGrpc"], others)]
    sys.exit(any(runs))
