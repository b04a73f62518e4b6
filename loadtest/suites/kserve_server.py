#!/usr/bin/env python3
"""Serves the sum of each row with KServe's own server, for `forebay-loadtest conformance`.

usage: kserve_server.py PORT     (pip: clients_requirements.txt)
"""
import sys

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer


class Sum(Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True

    async def get_input_types(self):
        return [{"name": "x", "datatype": "FP64", "shape": [-1, 10]}]

    async def get_output_types(self):
        return [{"name": "predict", "datatype": "FP64", "shape": [-1]}]

    async def predict(self, payload, headers=None, response_headers=None):
        rows = payload.inputs[0].as_numpy()
        output = InferOutput("predict", [rows.shape[0]], "FP64")
        binary = bool(payload.use_binary_outputs)
        output.set_data_from_numpy(rows.sum(axis=1).astype(np.float64), binary_data=binary)
        identity = {"response_id": payload.id or "made-here", "model_name": self.name}
        wanted = {"use_binary_outputs": binary, "requested_outputs": payload.request_outputs}
        return InferResponse(infer_outputs=[output], **identity, **wanted)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Sum("sum")])
