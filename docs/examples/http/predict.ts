// Scores two rows, waits for the answer later, and prints the predictions. Node 18 or later, or a browser.
//
// usage: tsc --target es2022 --module nodenext predict.ts && node predict.js
//        FOREBAY_URL (default http://127.0.0.1:8080), FOREBAY_API_KEY if the mesh requires one

interface Answer {
  predictions: (number | null)[];
  model_version: string;
  errors?: { row: number; code: string; message: string }[];
}

interface Refusal {
  error: { code: string; message: string };
}

declare const process: { env: Record<string, string | undefined> };

const url = process.env.FOREBAY_URL ?? "http://127.0.0.1:8080";
const key = process.env.FOREBAY_API_KEY;
const credentials: Record<string, string> = key ? { "X-API-Key": key } : {};

async function predict(features: number[][]): Promise<Answer> {
  const accepted = await fetch(`${url}/v1/predict`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Prefer: "respond-async", ...credentials },
    body: JSON.stringify({ features }),
  });
  let answer = accepted;
  // without a store of answers the request is answered at once
  while (answer.status === 202) {
    answer = await fetch(`${url}${answer.headers.get("location")}?wait=30`, { headers: credentials });
  }
  const body = (await answer.json()) as Answer & Refusal;
  if (answer.status !== 200) {
    throw new Error(`${answer.status}: ${body.error.code}: ${body.error.message}`);
  }
  return body;
}

const row = [0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018];
predict([row, row]).then(
  (answer) => console.log(answer.predictions),
  (error: Error) => {
    throw error;
  },
);
