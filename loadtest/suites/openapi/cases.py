"""What a client does that openapi-python-client generated, unmodified, from `/openapi.json` of a running mesh with the sample
model.

usage: cases.py URL DOCUMENT     (beside the generated package `forebay_client`; async.store has to be on)

Every answer is also held against the schema that the document gives for it. Exits 1 if anything differs.
"""
import json
import sys
from typing import Any

import jsonschema
from forebay_client import Client
from forebay_client.api.models import models
from forebay_client.api.open_inference_protocol import (
    infer,
    model_metadata,
    model_ready,
    repository_index,
    repository_model_load,
    repository_model_unload,
    server_metadata,
)
from forebay_client.api.other_protocols import invocations, kserve_predict
from forebay_client.api.predict import predict, result
from forebay_client.models import (
    ErrorAnswer,
    InferenceRequest,
    InvocationsRequest,
    ManyAnswer,
    ModelList,
    OneAnswer,
    PendingAnswer,
    PlainError,
    PredictRequest,
)
from forebay_client.models.features_body_type_1 import FeaturesBodyType1
from forebay_client.models.row_body_type_1 import RowBodyType1

NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
Row = list[bool | float | str | None]
ROW: Row = [0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]
MODEL = "diabetes-rf-model"
ROWS: list[Row | RowBodyType1] = [ROW, ROW]
TABLE = {"inputs": [ROW, ROW]}


def holds(document: dict[str, Any], path: str, method: str, status: int, content: bytes) -> None:
    """The answer is what the document says of it, to the letter: a schema of `oneOf` must match once."""
    described = document["paths"][path][method]["responses"][str(status)]
    if "content" in described:
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(content))
    else:
        assert content == b"", content


def predictions(client: Client, document: dict[str, Any]) -> float:
    reply = predict.sync_detailed(client=client, body=PredictRequest(features=ROW, request_id="one", model=MODEL))
    holds(document, "/v1/predict", "post", reply.status_code, reply.content)
    one = reply.parsed
    assert isinstance(one, OneAnswer) and one.request_id == "one" and isinstance(one.prediction, float), one
    named = FeaturesBodyType1.from_dict(dict(zip(NAMES, ROW)))
    same = predict.sync(client=client, body=PredictRequest(features=named))
    assert isinstance(same, OneAnswer) and same.prediction == one.prediction, same
    reply = predict.sync_detailed(client=client, body=PredictRequest(features=ROWS))
    holds(document, "/v1/predict", "post", reply.status_code, reply.content)
    assert isinstance(reply.parsed, ManyAnswer) and reply.parsed.predictions == [one.prediction] * 2, reply.parsed
    reply = predict.sync_detailed(client=client, body=PredictRequest(features=ROW[:3]))
    holds(document, "/v1/predict", "post", reply.status_code, reply.content)
    assert isinstance(reply.parsed, ErrorAnswer) and reply.parsed.error.code == "invalid_features", reply.parsed
    return one.prediction


def later(client: Client, document: dict[str, Any], expected: float) -> None:
    reply = predict.sync_detailed(client=client, body=PredictRequest(features=ROW), prefer="respond-async")
    holds(document, "/v1/predict", "post", reply.status_code, reply.content)
    assert reply.status_code == 202 and isinstance(reply.parsed, PendingAnswer), reply
    answer = result.sync_detailed(id=reply.parsed.result_id, client=client, wait=30.0)
    holds(document, "/v1/results/{id}", "get", answer.status_code, answer.content)
    assert isinstance(answer.parsed, OneAnswer) and answer.parsed.prediction == expected, answer
    none = result.sync_detailed(id="0" * 32, client=client)
    holds(document, "/v1/results/{id}", "get", none.status_code, none.content)
    assert none.status_code == 404 and isinstance(none.parsed, PlainError), none


def protocols(client: Client, document: dict[str, Any], expected: float) -> None:
    tensor = InferenceRequest(inputs=[{"name": "x", "shape": [1, 10], "datatype": "FP64", "data": ROW}])
    for path, reply in [
        ("/v2/models/{model}/infer", infer.sync_detailed(model=MODEL, client=client, body=tensor)),
        ("/v2/models/{model}/infer", infer.sync_detailed(model="absent", client=client, body=tensor)),
        ("/invocations", invocations.sync_detailed(client=client, body=InvocationsRequest(inputs=[ROW, ROW]))),
        ("/v1/models/{model}:predict", kserve_predict.sync_detailed(model=MODEL, client=client, body=TABLE)),
        ("/v2/repository/index", repository_index.sync_detailed(client=client, body={})),
        ("/v2/repository/models/{model}/load", repository_model_load.sync_detailed(model=MODEL, client=client, body={})),
        ("/v2/repository/models/{model}/unload", repository_model_unload.sync_detailed(model=MODEL, client=client, body={})),
    ]:
        holds(document, path, "post", reply.status_code, reply.content)
        body = json.loads(reply.content or b"null")
        match path, int(reply.status_code):
            case "/v2/models/{model}/infer", 200:
                assert body["outputs"][0]["data"] == [expected], body
            case ("/invocations" | "/v1/models/{model}:predict"), 200:
                assert body["predictions"] == [expected] * 2, body
            case "/v2/repository/index", 200:
                assert {entry["state"] for entry in body} == {"READY"}, body
            case "/v2/repository/models/{model}/load", 200:
                assert body is None
            case "/v2/models/{model}/infer", 404:
                assert "absent" in body["error"], body
            case "/v2/repository/models/{model}/unload", 403:
                assert "repository.writable" in body["error"], body
            case other:
                raise AssertionError(f"{other}: {body}")
    for path, reply in [
        ("/v2", server_metadata.sync_detailed(client=client)),
        ("/v2/models/{model}", model_metadata.sync_detailed(model=MODEL, client=client)),
        ("/v2/models/{model}/ready", model_ready.sync_detailed(model=MODEL, client=client)),
    ]:
        assert reply.status_code == 200, (path, reply)
        holds(document, path, "get", reply.status_code, reply.content)
    listed = models.sync_detailed(client=client)
    holds(document, "/v1/models", "get", listed.status_code, listed.content)
    assert isinstance(listed.parsed, ModelList) and listed.parsed.models[0].name == MODEL, listed


def main(url: str, path: str) -> None:
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    client = Client(base_url=url)
    expected = predictions(client, document)
    later(client, document, expected)
    protocols(client, document, expected)
    print(f"python: {len(document['paths'])} paths generated, answers as described")


if __name__ == "__main__":
    main(*sys.argv[1:])
