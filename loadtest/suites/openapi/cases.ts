// What a client does whose types openapi-typescript generated, unmodified, from `/openapi.json` of a running mesh with the
// sample model, with openapi-fetch.
//
// usage: node cases.js URL     (beside the generated `forebay.ts`; async.store has to be on)
import createClient from "openapi-fetch";
import type { components, paths } from "./forebay.js";

declare const process: { argv: string[] };

type One = components["schemas"]["OneAnswer"];

const MODEL = "diabetes-rf-model";
const ROW = [0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018];

function check(holds: unknown, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

function isOne(answer: object | undefined): answer is One {
  return answer !== undefined && "prediction" in answer && "model_version" in answer;
}

const [url] = process.argv.slice(2);
check(url, "the address of the mesh is missing");
const client = createClient<paths>({ baseUrl: url });

const one = await client.POST("/v1/predict", { body: { features: ROW, request_id: "one", model: MODEL } });
check(isOne(one.data) && one.data.request_id === "one" && typeof one.data.prediction === "number", one);
const expected = one.data.prediction;
const many = await client.POST("/v1/predict", { body: { features: [ROW, ROW] } });
check(many.data && "predictions" in many.data && many.data.predictions.length === 2, many);
check(many.data.predictions.every((prediction) => prediction === expected), many.data);
const wrong = await client.POST("/v1/predict", { body: { features: ROW.slice(3) } });
check(wrong.response.status === 400 && wrong.error?.error.code === "invalid_features", wrong.error);

const later = await client.POST("/v1/predict", {
  body: { features: ROW },
  params: { header: { Prefer: "respond-async" } },
});
check(later.response.status === 202 && later.data && "result_id" in later.data, later);
const answer = await client.GET("/v1/results/{id}", {
  params: { path: { id: later.data.result_id }, query: { wait: 30 } },
});
check(isOne(answer.data) && answer.data.prediction === expected, answer);

const inputs = [{ name: "x", shape: [1, 10], datatype: "FP64", data: ROW }];
const inferred = await client.POST("/v2/models/{model}/infer", { params: { path: { model: MODEL } }, body: { inputs } });
const { outputs } = inferred.data as { outputs: { data: number[] }[] };
check(outputs[0]?.data[0] === expected, inferred.data);
const load = await client.POST("/v2/repository/models/{model}/load", { params: { path: { model: MODEL } }, body: {} });
check(load.response.status === 200 && load.error === undefined, load);
const unload = await client.POST("/v2/repository/models/{model}/unload", { params: { path: { model: MODEL } }, body: {} });
check(unload.response.status === 403 && JSON.stringify(unload.error).includes("repository.writable"), unload);
const invoked = await client.POST("/invocations", { body: { inputs: [ROW] } });
check((invoked.data as { predictions: number[] }).predictions[0] === expected, invoked.data);
const models = await client.GET("/v1/models");
check(models.data?.models[0]?.name === MODEL && models.data.models[0].versions.length > 0, models.data);
console.log("typescript: answers have the described types");
