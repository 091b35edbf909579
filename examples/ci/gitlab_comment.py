"""Write the comparison into a note of the merge request; a later run updates the same note."""

import json
import os
import subprocess
import urllib.request

body = subprocess.run(
    ["pytest-mlflow", "report", "--comment"], check=True, capture_output=True, encoding="utf-8"
).stdout
marker = body.partition("\n")[0]
notes = (
    f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}"
    f"/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
)


def call(method, url, data=None):
    headers = {"PRIVATE-TOKEN": os.environ["GITLAB_TOKEN"], "Content-Type": "application/json"}
    content = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), answer.headers.get("X-Next-Page")


known, page = None, "1"
while page and known is None:
    found, page = call("GET", f"{notes}?per_page=100&page={page}")
    known = next((note["id"] for note in found if note["body"].startswith(marker)), None)
if known is None:
    call("POST", notes, {"body": body})
else:
    call("PUT", f"{notes}/{known}", {"body": body})
