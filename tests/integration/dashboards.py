"""dashboards.py PROMETHEUS-URL INFLUXDB-URL SCHEMA-FILE: ask real servers every question of the
dashboards in docker/grafana. Fails on an error, on a name that `cbformula schema` does not have, and on
no answer (but for memory, which the synthetic sensor does not tell)."""
import glob
import json
import re
import sys
import urllib.parse
import urllib.request

prometheus, influxdb, schema = sys.argv[1:]
with open(schema, encoding="utf-8") as lines:
    words = set(re.split(r"[\t\n,]", lines.read()))
asked = 0


def get(url, **query):
    with urllib.request.urlopen(url + "?" + urllib.parse.urlencode(query), timeout=20) as answer:
        return json.load(answer)


def ask(target):
    if "expr" in target:
        text = target["expr"].replace("$machine", ".*").replace("$__rate_interval", "1m")
        names = re.findall(r"\bcb_\w+", text)
        found = get(prometheus + "/api/v1/query", query=text)["data"]["result"]
    else:
        text = target["query"].replace("$machine", ".*").replace("$timeFilter", "time > now() - 10m")
        text = text.replace("$__interval_ms", "1000").replace("$__interval", "1s")
        names = [n for n in re.findall(r'"(\w+)"', text)]
        result = get(influxdb + "/query", db="cbwatts", q=text)["results"][0]
        assert "error" not in result, f"{text}: {result}"
        found = result.get("series")
    unknown = [n for n in names if n not in words]
    assert not unknown, f"not in the schema: {unknown}"
    assert found or "memory" in text, f"no answer to {text}"


for name in sorted(glob.glob("docker/grafana/dashboards/*.json")):
    with open(name, encoding="utf-8") as file:
        for panel in json.load(file)["panels"]:
            for target in panel["targets"]:
                ask(target)
                asked += 1
print(f"{asked} questions answered")
assert asked >= 12
