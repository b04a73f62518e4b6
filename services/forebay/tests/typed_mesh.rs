//! `forebay up` with models of text, booleans and several outputs: their rows and answers over HTTP, as their origin gave
//! them.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

struct Mesh {
    process: Child,
    url: String,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wide(name: &str) -> String {
    format!("{}/../../shared/model/tests/golden/wide/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(wide(&format!("{name}.expected.json"))).unwrap()).unwrap()
}

/// Serves these models of `golden/wide` and waits until each answers.
fn up(models: &[&str], more: &[&str]) -> Mesh {
    let paths: Vec<String> = models.iter().flat_map(|model| ["--model".to_owned(), wide(model)]).collect();
    let mesh = start(&[more, &paths.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    for model in models {
        mesh.wait_for(&json!({"model": model, "features": expected(model)["rows"][0]}));
    }
    mesh
}

fn start(more: &[&str]) -> Mesh {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["up", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"]).args(more);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let shown: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.starts_with("  health")).collect();
    let url = shown.iter().find_map(|line| line.trim().strip_prefix("http     ")?.split("/v1/").next());
    let url = url.unwrap_or_else(|| panic!("{shown:#?}")).to_owned();
    Mesh { process, url }
}

impl Mesh {
    /// Waits until a request is answered.
    fn wait_for(&self, body: &Value) {
        let begin = Instant::now();
        while self.post(body).0 != 200 {
            assert!(begin.elapsed() < LIMIT, "{:?}", self.post(body));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn post(&self, body: &Value) -> (u16, Value) {
        self.post_to("/v1/predict", body)
    }

    fn post_to(&self, path: &str, body: &Value) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let sent = agent.post(format!("{}{path}", self.url)).content_type("application/json").send(body.to_string());
        let mut response = sent.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    fn answer(&self, body: Value) -> Value {
        let (status, answer) = self.post(&body);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn error(&self, body: Value) -> String {
        let (status, answer) = self.post(&body);
        assert_eq!(status, 400, "{answer}");
        format!("{}: {}", answer["error"]["code"].as_str().unwrap(), answer["error"]["message"].as_str().unwrap())
    }
}

fn close(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(got), Value::Number(want)) => {
            let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
            (got - want).abs() <= 1e-9 + 1e-9 * want.abs()
        }
        (Value::Array(got), Value::Array(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(got, want)| close(got, want))
        }
        (got, want) => got == want,
    }
}

#[test]
fn rows_of_text_get_the_answers_of_their_origin() {
    let models = ["onehot_logreg", "impute_text", "dropped_columns", "bool_column", "multi_linear", "tfidf_logreg"];
    let mesh = up(&models, &[]);
    for model in models {
        let expected = expected(model);
        let answer = mesh.answer(json!({"model": model, "features": expected["rows"]}));
        assert!(close(&answer["predictions"], &expected["predict"]), "{model}: {answer} {}", expected["predict"]);
        let first = mesh.answer(json!({"model": model, "features": expected["rows"][0]}));
        assert!(close(&first["prediction"], &expected["predict"][0]), "{model}: {first}");
    }
    outputs(&mesh);
    errors(&mesh);
}

fn outputs(mesh: &Mesh) {
    let expected = expected("onehot_logreg");
    let row = &expected["rows"][0];
    let request = |output: &str| json!({"model": "onehot_logreg", "features": row, "output": output});
    let proba = mesh.answer(request("predict_proba"));
    assert!(close(&proba["prediction"], &expected["predict_proba"][0]), "{proba}");
    assert_eq!((&proba["classes"], &proba["prediction"]), (&json!(["churn", "stay"]), &proba["probabilities"]));
    let decision = mesh.answer(request("decision_function"));
    assert!(decision["prediction"].is_f64() && decision["classes"].is_null(), "{decision}");
    let label = mesh.answer(request("predict"));
    assert_eq!((&label["prediction"], label["classes"].is_null()), (&expected["predict"][0], true));
    let many = json!({"model": "onehot_logreg", "features": [row, row], "output": "predict_proba"});
    let many = mesh.answer(many);
    assert_eq!((&many["classes"], many["predictions"][1].as_array().unwrap().len()), (&json!(["churn", "stay"]), 2));
    assert!(mesh.error(request("score_samples")).contains("has no score_samples"));
    assert!(mesh.error(request("probs")).contains("\"probs\" is not an output"));
}

fn errors(mesh: &Mesh) {
    let row = json!({"age": 40, "income": 5e4, "city": "Lyon", "plan": "pro", "active": true});
    let with = |name: &str, value: Value| {
        let mut row = row.clone();
        row[name] = value;
        json!({"model": "onehot_logreg", "features": row})
    };
    let base = mesh.answer(json!({"model": "onehot_logreg", "features": row}));
    let same = mesh.answer(with("age", json!(40.0)));
    assert_eq!((&same["prediction"], &same["cached"]), (&base["prediction"], &json!(true)), "one question");
    assert_eq!(mesh.answer(with("note", json!("ignored")))["cached"], json!(true));
    assert!(mesh.error(with("age", json!(1.5))).starts_with("invalid_features: feature age: expected an integer"));
    assert!(mesh.error(with("age", json!("40"))).contains("feature age: expected an integer of 64 bits, got the text"));
    assert!(
        mesh.error(with("city", json!(1.0))).contains("feature city: expected text or an integer, got the number 1.0")
    );
    assert!(mesh.error(with("city", json!(["Lyon"]))).starts_with("invalid_request: features.city: expected"));
    assert!(mesh.error(with("age", Value::Null)).contains("feature age is missing"));
    assert_eq!(mesh.answer(with("city", json!("\u{1f600}")))["model"], "onehot_logreg");
    let params = json!({"model": "onehot_logreg", "features": row, "params": {"top_k": 1}});
    assert!(mesh.error(params).contains("unknown parameter \"top_k\""));
    let imputed = json!({"age": 40, "city": null, "plan": "pro", "active": true});
    assert_eq!(mesh.answer(json!({"model": "impute_text", "features": imputed}))["fallback_from"], Value::Null);
    let misspelt = json!({"age": 40, "City": "Lyon", "plan": "pro", "active": true});
    let misspelt = mesh.error(json!({"model": "impute_text", "features": misspelt}));
    assert!(misspelt.contains("feature city is missing, and the unknown feature \"City\""), "{misspelt}");
    let read = json!({"age": 48, "income": 31897.3});
    assert_eq!(mesh.post(&json!({"model": "dropped_columns", "features": read})).0, 200, "the others are not read");
}

#[test]
fn columns_that_the_model_does_not_have_can_be_refused() {
    let mesh = up(&["onehot_logreg"], &["--set", "features.extra=reject"]);
    let row = json!({"age": 40, "income": 5e4, "city": "Lyon", "plan": "pro", "active": true, "note": 1});
    assert!(mesh.error(json!({"features": row})).contains("unknown feature \"note\""));
}

/// A registry with a model `churn`: the golden classifier in four versions, whose tags and files say other outputs.
fn churn() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("churn");
    for version in 1..=4 {
        let to = model.join(version.to_string());
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(wide("onehot_logreg")).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let mlmodel = model.join("3/MLmodel");
    let text = std::fs::read_to_string(&mlmodel).unwrap().replace("predict_fn: predict", "predict_fn: predict_proba");
    let params = r#"params: '[{"name": "threshold", "type": "double", "default": 0.5, "shape": null}]'"#;
    std::fs::write(&mlmodel, text.replace("params: null", params)).unwrap();
    let tags = "tags:\n  2: {forebay.output: predict_proba}\n  4: {forebay.output: probs}\n";
    std::fs::write(model.join("registered_model.yaml"), tags).unwrap();
    folder
}

/// What `forebay score` answers to requests for a version of `churn`.
fn scored(registry: &str, version: u32, requests: &[Value]) -> Vec<Value> {
    scored_with(&["--registry", registry, "--model", &format!("models:/churn/{version}")], requests)
}

fn scored_with(arguments: &[&str], requests: &[Value]) -> Vec<Value> {
    let input = requests.iter().map(|request| format!("{request}\n")).collect::<String>();
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("score").args(arguments).args(["--format", "jsonl"]).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // far less than a pipe holds
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_mesh_and_a_scored_file_answer_a_request_alike() {
    let folder = churn();
    let registry = format!("file:{}", folder.path().display());
    let mesh = start(&["--set", &format!("models.registry={registry}"), "--set", "models.name=churn"]);
    let expected = expected("onehot_logreg");
    let row = &expected["rows"][0];
    mesh.wait_for(&json!({"model": "churn", "model_version": "v1", "features": row}));
    let mut alike = 0;
    for version in 1..=4 {
        let mut requests: Vec<Value> = ["", "predict", "predict_proba", "decision_function", "score_samples", "probs"]
            .map(|output| json!({"features": row, "output": output}))
            .into();
        requests.push(json!({"features": row}));
        for params in
            [json!({"threshold": 0.5}), json!({"threshold": 1}), json!({"top_k": 1}), json!({"threshold": null})]
        {
            requests.push(json!({"features": row, "params": params}));
        }
        requests.push(json!({"features": row, "output": "predict_proba", "params": {"threshold": 0.5}}));
        requests.push(json!({"features": [1], "output": "score_samples"}));
        let lines = scored(&registry, version, &requests);
        assert_eq!(lines.len(), requests.len());
        for (request, line) in requests.into_iter().zip(lines) {
            let mut request = request;
            (request["model"], request["model_version"]) = ("churn".into(), format!("v{version}").into());
            let (status, answer) = mesh.post(&request);
            for field in ["prediction", "probabilities", "classes"] {
                assert_eq!(answer[field], line[field], "{request}: {field}");
            }
            let error = |answer: &Value| (answer["error"]["code"].clone(), answer["error"]["message"].clone());
            assert_eq!(error(&answer), error(&line), "{request}");
            alike += usize::from(status == 200);
        }
    }
    assert!(alike >= 20, "{alike} of the requests were answered");
    invocations(&mesh, row, &expected["predict_proba"][0]);
}

/// Parameters over MLflow's protocol.
fn invocations(mesh: &Mesh, row: &Value, probabilities: &Value) {
    let post = |params: Value| {
        let body = json!({"dataframe_records": [row], "params": params});
        mesh.post_to("/models/churn/versions/3/invocations", &body)
    };
    for params in [json!({"threshold": 0.5}), json!({}), Value::Null, json!({"top_k": [1]})] {
        let (status, answer) = post(params.clone());
        assert_eq!(status, 200, "{params}: {answer}");
        assert!(close(&answer["predictions"][0], probabilities), "{params}: {answer}");
    }
    for (params, why) in [
        (json!({"threshold": 0.6}), "params: \"threshold\" is 0.5 in churn v3, and no other value can be given"),
        (json!({"top_k": 1, "threshold": 0.6}), "\"threshold\" is 0.5"),
        (json!({"threshold": "0.5"}), "\"threshold\" is 0.5"),
        (json!({"threshold": [0.5]}), "params.threshold: expected a number, a string, a boolean or null, got an array"),
        (json!([1]), "params: expected an object of values"),
    ] {
        let (status, answer) = post(params.clone());
        assert_eq!((status, answer["error_code"].as_str()), (400, Some("BAD_REQUEST")), "{params}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(why), "{params}: {answer}");
    }
}

/// Model files whose libraries refuse some rows, by name: rows with their answers, and one that is refused.
fn refusing() -> (String, serde_json::Map<String, Value>) {
    let folder = format!("{}/../../shared/model/tests/golden/refusing", env!("CARGO_MANIFEST_DIR"));
    let cases = serde_json::from_slice(&std::fs::read(format!("{folder}/expected.json")).unwrap()).unwrap();
    (folder, cases)
}

#[test]
fn a_row_that_a_model_refuses_harms_no_other_row() {
    let (folder, cases) = refusing();
    let file = |case: &Value| format!("{folder}/{}", case["file"].as_str().unwrap());
    let paths: Vec<String> = cases.values().flat_map(|case| ["--model".to_owned(), file(case)]).collect();
    // no breaker has time to close again
    let more = ["--set", "prediction.breaker_open=600s"];
    let mesh = start(&[&more[..], &paths.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    for (name, case) in &cases {
        // without an example, so that a made-up row was all there was to try it with
        mesh.wait_for(&json!({"model": name, "features": case["rows"][0]}));
    }
    for (name, case) in &cases {
        let column = case["column"].as_str().map_or("no answer to this row".to_owned(), |column| format!(" {column} "));
        for _ in 0..12 {
            let error = mesh.error(json!({"model": name, "features": case["refused"]}));
            assert!(error.starts_with("invalid_features: ") && error.contains(&column), "{name}: {error}");
        }
        let answer = mesh.answer(json!({"model": name, "features": case["rows"][1]}));
        assert!(close(&answer["prediction"], &case["predict"][1]), "{name}: {answer} {}", case["predict"][1]);
        assert_eq!((&answer["fallback_from"], &answer["cached"]), (&Value::Null, &json!(false)), "{name}");
        let lines = [&case["rows"][0], &case["refused"], &case["rows"][1]].map(|row| json!({"features": row}));
        let lines = scored_with(&["--model", &file(case)], &lines);
        assert!(close(&lines[0]["prediction"], &case["predict"][0]), "{name}: {}", lines[0]);
        assert_eq!(lines[1]["error"]["code"], "invalid_features", "{name}: {}", lines[1]);
        assert!(lines[1]["error"]["message"].as_str().unwrap().contains(&column), "{name}: {}", lines[1]);
        assert!(close(&lines[2]["prediction"], &case["predict"][1]), "{name}: {}", lines[2]);
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_forebay"));
    check.args(["models", "check", "--json"]).args(cases.values().map(&file)).env_clear();
    let output = check.output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().len(), cases.len());
    for model in found.as_array().unwrap() {
        assert_eq!((&model["verdict"], model["row_us"].is_f64()), (&json!("runs, not compared"), true), "{model}");
    }
}

#[test]
fn every_golden_folder_is_served_without_an_example() {
    let names = std::fs::read_dir(wide("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|name| Some(name.strip_suffix(".expected.json")?.to_owned()));
    // neither those that are refused nor one that has no finite answer to its first row
    let names: Vec<String> = names.filter(|name| !expected(name)["predict"][0].is_null()).collect();
    assert!(names.len() > 40, "{names:?}");
    let mesh = up(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    for name in &names {
        let expected = expected(name);
        let answer = mesh.answer(json!({"model": name, "features": expected["rows"][0]}));
        assert!(close(&answer["prediction"], &expected["predict"][0]), "{name}: {answer}");
    }
}
