#!/usr/bin/env python3
"""Writes dashboards/forebay.json. `make.py --check` only says whether the file is what this script would write.

The dashboard is a list of rows of panels: a title, what to look for, a unit, and expressions with their legends.
"""

import json
import sys
from pathlib import Path

OUT = Path(__file__).parent / "dashboards" / "forebay.json"
SOURCE = {"type": "prometheus", "uid": "forebay-prometheus"}
JOB = 'job=~"$job"'


def rate(metric, by="", labels="", window="$__rate_interval"):
    """Sum of the rate of a counter."""
    inside = JOB + ("," + labels if labels else "")
    return f"sum{' by (' + by + ')' if by else ''} (rate({metric}{{{inside}}}[{window}]))"


def quantile(share, metric, by="", labels=""):
    inside = JOB + ("," + labels if labels else "")
    names = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({names}) (rate({metric}_bucket{{{inside}}}[$__rate_interval])))"


def gauge(metric, by, how="max"):
    return f"{how} by ({by}) ({metric}{{{JOB}}})"


REQUESTS = "inference_requests_total"
STAGE = "forebay_stage"
OURS = 'code=~"overloaded|unavailable|model_unavailable|deadline_exceeded|internal"'

# (row, [(title, description, unit, [(expression, legend)], options)])
ROWS = [
    ("The objective: errors < 0.1 %, P95 < 100 ms, > 70 % hits", [
        ("Requests", "Rows accepted over HTTP, Kafka and RabbitMQ.", "reqps", [(rate(REQUESTS), "requests")], {"kind": "stat"}),
        ("Errors the mesh answers for", "Share of requests; a client's mistakes are not in it.", "percentunit",
         [(f"({rate(STAGE + '_failed_total', labels=OURS)} or vector(0)) / {rate(REQUESTS)}", "errors")], {"kind": "stat", "red": 0.001}),
        ("P95, end to end", "From acceptance to the answer's delivery report.", "s", [(quantile(0.95, "inference_latency_seconds"), "p95")], {"kind": "stat", "red": 0.1}),
        ("Cache hits", "Of all rows, those that were in memory or in Redis.", "percentunit",
         [(f"{rate('forebay_cache_hits_total')} / ({rate('forebay_cache_hits_total')} + {rate('forebay_cache_misses_total')} + {rate('forebay_cache_waited_total')})", "hits")], {"kind": "stat"}),
        ("Replicas ready", "Of those that are scraped.", "short", [(f"sum(forebay_ready{{{JOB}}})", "ready"), (f"count(forebay_ready{{{JOB}}})", "all")], {"kind": "stat"}),
        ("Alerts", "Firing now; the runbook has an entry for each.", "short", [('count(ALERTS{alertname=~"Forebay.*",alertstate="firing"}) or vector(0)', "firing")], {"kind": "stat", "red": 1}),
        ("Latency, end to end", "The dots are exemplars: each opens the trace of a request.", "s",
         [(quantile(q, "inference_latency_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)], {"exemplar": True, "w": 12}),
        ("Requests and errors by code", "Errors count where they arise.", "reqps", [(rate(REQUESTS), "accepted"), (rate(STAGE + "_failed_total", "code"), "{{code}}")], {"w": 12}),
        ("Burn of the error budget", "1 uses the budget up exactly; the alerts fire at 14.4, 6 and 1.", "short",
         [(f"forebay:errors:ratio_rate{w} / 0.001", w) for w in ("5m", "1h", "6h")], {"w": 12}),
        ("Burn of the latency budget", "Share of requests over 100 ms, in budgets of 5 %.", "short",
         [(f"forebay:slow:ratio_rate{w} / 0.05", w) for w in ("5m", "1h", "6h")], {"w": 12}),
    ]),
    ("Golden signals of each stage", [
        ("Traffic", "Rows taken in.", "reqps", [(rate(STAGE + "_received_total", "stage"), "{{stage}}")], {}),
        ("Latency, P95", "Of a batch inside a stage.", "s", [(quantile(0.95, STAGE + "_duration_seconds", "stage"), "{{stage}}")], {}),
        ("Errors", "Rows that ended in an error, by stage and code.", "reqps", [(rate(STAGE + "_failed_total", "stage, code"), "{{stage}} {{code}}")], {}),
        ("Saturation", "Unfinished work in a stage; intake waits at delivery.in_flight (16384).", "short", [(gauge(STAGE + "_in_flight", "stage", "sum"), "{{stage}}")], {}),
        ("Held back", "Share of the time in which intake waited for room.", "percentunit", [(rate(STAGE + "_waited_seconds_total", "stage"), "{{stage}}")], {}),
        ("Batch size", "Mean rows of a batch: a busy mesh packs more.", "short",
         [(f"{rate(STAGE + '_batch_size_sum', 'stage')} / {rate(STAGE + '_batch_size_count', 'stage')}", "{{stage}}")], {}),
    ]),
    ("Lag and age", [
        ("Consumer lag", "Records behind the end, by topic.", "short", [(gauge("kafka_consumer_lag", "topic", "sum"), "{{topic}}")], {}),
        ("Lag, the worst partition", "One that stands out has a stuck or slow reader.", "short", [(f"topk(5, max by (topic, partition) (kafka_consumer_lag{{{JOB}}}))", "{{topic}}/{{partition}}")], {}),
        ("Age of the oldest record in flight", "Near the request's deadline (60 s) answers turn into errors.", "s", [(gauge(STAGE + "_oldest_item_age_seconds", "stage"), "{{stage}}")], {}),
        ("Sent, by topic", "Rows acknowledged by the brokers.", "reqps", [(rate(STAGE + "_sent_total", "destination"), "{{destination}}")], {}),
        ("Kafka's acknowledgement", "Mean round trip of a produce request.", "s", [(gauge("forebay_kafka_round_trip_seconds", "stage"), "{{stage}}")], {}),
        ("Throttled by quotas", "Longest time a broker held an answer back.", "s", [(gauge("forebay_kafka_throttle_seconds", "stage, client"), "{{stage}} {{client}}")], {}),
    ]),
    ("Cache", [
        ("Where rows are answered", "memory, Redis, the prediction of an equal row in flight, or prediction.", "reqps",
         [(rate("forebay_cache_hits_total", "level"), "{{level}}"), (rate("forebay_cache_waited_total"), "waited"), (rate("forebay_cache_misses_total"), "miss")], {}),
        ("Redis", "Rows that went on without it, and failed commands, by reason.", "reqps",
         [(rate("forebay_cache_bypassed_total", "reason"), "bypassed: {{reason}}"), (rate("forebay_cache_redis_errors_total", "reason"), "errors: {{reason}}")], {}),
        ("Redis breaker", "0 closed, 1 half-open, 2 open.", "short", [(gauge("forebay_cache_redis_breaker", "instance"), "{{instance}}")], {}),
        ("Stored", "Answers stored, and those for which there was no room.", "reqps",
         [(rate("forebay_cache_stored_total", "level"), "{{level}}"), (rate("forebay_cache_dropped_predictions_total"), "dropped")], {}),
        ("Entries in memory", "Falls when capacity makes the least useful ones go.", "short", [(gauge("forebay_cache_entries", "instance"), "{{instance}}")], {}),
        ("Waiting for an equal row", "Now, and waits that ended without an answer.", "short",
         [(f"sum(forebay_cache_waiting{{{JOB}}})", "waiting"), (rate("forebay_cache_gave_up_total"), "gave up /s"), (rate("forebay_cache_waiters_full_total"), "no room /s")], {}),
    ]),
    ("Versions and breakers", [
        ("Rows by version", "Who answers; a rollout shows as one line giving way to another.", "reqps", [(rate("forebay_model_rows_total", "model, version"), "{{model}} v{{version}}")], {}),
        ("Failures and fallbacks", "Calls that failed, and rows answered in place of another version.", "reqps",
         [(rate("forebay_model_failures_total", "model, version"), "v{{version}} failed"), (rate("forebay_model_fallbacks_total", "model, version"), "v{{version}} stood in")], {}),
        ("Breakers", "1 while a version's breaker is not closed.", "short", [(gauge("forebay_model_breaker_open", "model, version"), "{{model}} v{{version}}")], {}),
        ("Loaded", "0 where a version cannot be loaded.", "short", [(gauge("forebay_model_version_ready", "model, version", "min"), "{{model}} v{{version}}")], {}),
        ("Replicas that report", "Live prediction replicas in the model directory, by model.", "short", [(gauge("forebay_models_replicas", "model", "max"), "{{model}}")], {}),
        ("Registry", "Seconds since it was last read.", "s", [(f"time() - min by (stage) (forebay_registry_read_timestamp_seconds{{{JOB}}})", "{{stage}}")], {}),
        ("Shadows", "P95 of the relative difference to the answer given, share of rows that differ, failures.", "short",
         [(quantile(0.95, "forebay_shadow_difference", "version"), "v{{version}} differs by"), (rate("forebay_shadow_failures_total", "version"), "v{{version}} failed"),
          (f"{rate('forebay_shadow_disagreements_total', 'version')} / {rate('forebay_shadow_rows_total', 'version')} >= 0", "v{{version}} disagrees")], {}),
    ]),
    ("Priorities", [
        ("Rows by priority", "high below 1, normal 1, low above 1.", "reqps", [(rate(STAGE + "_priority_seconds_count", "priority"), "{{priority}}")], {}),
        ("Time in prediction by priority, P95", "High stays low while low waits, up to prediction.max_age.", "s", [(quantile(0.95, STAGE + "_priority_seconds", "priority"), "{{priority}}")], {}),
        ("Callers waiting", "Rows whose HTTP callers wait; 429 at http.in_flight.", "short", [(gauge("forebay_http_waiting_rows", "instance"), "{{instance}}")], {}),
    ]),
    ("Dead letters and duplicates", [
        ("Dead letters", "Records given up on in the last hour; `forebay dead-letters list` shows them.", "short", [(f"sum by (stage) (increase({STAGE}_dead_letters_total{{{JOB}}}[1h]))", "{{stage}}")], {}),
        ("Duplicates", "Seen before and not answered again: replays after a take-over or by clients.", "reqps",
         [(rate(STAGE + "_duplicates_total", "stage"), "{{stage}}"), (rate("forebay_publishing_answered_again_total"), "answered again")], {}),
        ("Window of answered items", "Ids remembered, and rows held back because it is full.", "short",
         [(gauge("forebay_publishing_window_ids", "instance"), "ids {{instance}}"), (f"sum(forebay_publishing_held{{{JOB}}})", "held")], {}),
    ]),
    ("Saturation of the processes", [
        ("CPU", "Cores in use.", "short", [(f"sum by (service, instance) (rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval]))", "{{service}} {{instance}}")], {}),
        ("CPU throttled", "Share of the time the control group stood still.", "percentunit", [(f"sum by (service, instance) (rate(forebay_cpu_throttled_seconds_total{{{JOB}}}[$__rate_interval]))", "{{service}} {{instance}}")], {}),
        ("Memory", "Resident.", "bytes", [(gauge("process_resident_memory_bytes", "service, instance"), "{{service}} {{instance}}")], {}),
        ("File descriptors", "Connections and files.", "short", [(gauge("process_open_fds", "service, instance"), "{{service}} {{instance}}")], {}),
        ("Not ready", "Components that are not ready now.", "short", [(f"1 - min by (component, instance) (forebay_component_ready{{{JOB}}}) > 0", "{{component}} {{instance}}")], {}),
        ("Uptime and build", "Restarts show as falls; builds side by side as two versions.", "s",
         [(f"time() - max by (instance) (process_start_time_seconds{{{JOB}}})", "{{instance}}"), (f"count by (version) (forebay_build_info{{{JOB}}})", "replicas of {{version}}")], {}),
    ]),
]


def panel(number, place, title, description, unit, targets, options):
    stat = options.get("kind") == "stat"
    field = {"unit": unit, "min": 0}
    if not stat:
        field["custom"] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    if "red" in options:
        field["thresholds"] = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": options["red"]}]}
    made = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expression, "legendFormat": legend,
         **({"exemplar": True} if options.get("exemplar") else {}), **({"instant": True} if stat else {})}
        for i, (expression, legend) in enumerate(targets)
    ]
    return {
        "id": number, "type": "stat" if stat else "timeseries", "title": title, "description": description, "datasource": SOURCE,
        "gridPos": place, "fieldConfig": {"defaults": field, "overrides": []}, "targets": made,
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"} if stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def dashboard():
    panels, number, top = [], 0, 0
    for title, row in ROWS:
        number += 1
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": top}, "panels": []})
        top, left, deep = top + 1, 0, 0
        for name, description, unit, targets, options in row:
            number += 1
            wide, high = (4, 4) if options.get("kind") == "stat" else (options.get("w", 8), 8)
            if left + wide > 24:
                top, left, deep = top + deep, 0, 0
            panels.append(panel(number, {"h": high, "w": wide, "x": left, "y": top}, name, description, unit, targets, options))
            left, deep = left + wide, max(deep, high)
        top += deep
    job = {
        "name": "job", "label": "Job", "type": "query", "datasource": SOURCE, "query": "label_values(forebay_ready, job)", "refresh": 2,
        "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }
    return {
        "uid": "forebay", "title": "Forebay", "tags": ["forebay"], "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser", "templating": {"list": [job]}, "panels": panels,
    }


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        if not OUT.is_file() or OUT.read_text() != text:
            sys.exit(f"{OUT.name} is not what make.py writes: run compose/monitoring/grafana/make.py")
        return
    OUT.write_text(text)


if __name__ == "__main__":
    main()
