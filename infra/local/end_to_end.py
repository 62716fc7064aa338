"""The end-to-end test of the AWS shape: what callers, workers and readers of events see of a deployed stack.

Run by `python infra/local/stack.py test`. Each step says what it has seen; the first that does not hold ends the test.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def must(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"end to end: {what}")


@dataclass
class Answer:
    status: int
    body: dict


@dataclass
class Api:
    """The API with one token."""

    url: str
    token: str | None

    def ask(self, method: str, path: str, body: dict | None = None, timeout: float = 60) -> Answer:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, json.loads(refused.read() or b"{}"))

    def get(self, path: str) -> dict:
        answer = self.ask("GET", path)
        must(answer.status == 200, f"GET {path} was answered {answer.status}: {answer.body}")
        return answer.body

    def post(self, path: str, body: dict, expected: int = 200) -> dict:
        answer = self.ask("POST", path, body)
        must(answer.status == expected, f"POST {path} was answered {answer.status}, not {expected}: {answer.body}")
        return answer.body


def until(what: str, seconds: float, look):
    """The first answer of `look` that is not empty."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        must(time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}")
        time.sleep(0.25)


class Run:
    def __init__(self, stack, operator: str, producer: str, worker: str):
        self.stack = stack
        self.operator = Api(stack.url, operator)
        self.producer = Api(stack.url, producer)
        self.worker = Api(stack.url, worker)
        self.sqs = stack.client("sqs")
        self.events: dict[str, dict] = {}

    def create(self, queue: str, **more) -> str:
        return self.producer.post("/v1/tasks", {"type": "render", "queue": queue} | more, expected=201)["id"]

    def claim(self, worker: str, queue: str, wait: float = 0, most: int = 1) -> list[dict]:
        claim = {
            "worker_id": worker,
            "queues": [queue],
            "wait_seconds": wait,
            "max_tasks": most,
            "capacity": 100,
            "request_id": str(uuid.uuid4()),
        }
        return self.worker.post("/v1/claims", claim)["tasks"]

    def beat(self, worker: str, *tasks: dict) -> dict:
        running = [{"task_id": task["id"], "attempt": task["attempt"]} for task in tasks]
        return self.worker.post(f"/v1/workers/{worker}/heartbeat", {"running": running})

    def task(self, task_id: str) -> dict:
        return self.producer.get(f"/v1/tasks/{task_id}")

    def status(self, task_id: str) -> str:
        return self.task(task_id)["task"]["status"]

    def completed(self, task_id: str) -> dict | None:
        task = self.task(task_id)
        return task if task["task"]["status"] == "completed" else None

    def read_events(self) -> None:
        address = self.stack.queue("EventsQueue")
        while True:
            got = self.sqs.receive_message(QueueUrl=address, MaxNumberOfMessages=10).get("Messages", [])
            if not got:
                return
            for message in got:
                event = json.loads(message["Body"])
                must(event["specversion"] == "1.0", f"expected a CloudEvent, got {event}")
                self.events[event["id"]] = event
                self.sqs.delete_message(QueueUrl=address, ReceiptHandle=message["ReceiptHandle"])

    def events_of(self, task_id: str) -> list[str]:
        self.read_events()
        events = [event for event in self.events.values() if event["subject"] == task_id]
        return [event["type"] for event in sorted(events, key=lambda event: int(event["sequence"]))]

    # The steps.

    def callers_need_tokens(self) -> None:
        must(Api(self.stack.url, None).ask("GET", "/v1/stats").status == 401, "a caller without a token was not refused")
        forged = Api(self.stack.url, "baton_" + "0" * 32 + "_" + "0" * 64)
        must(forged.ask("GET", "/v1/stats").status in (401, 403), "a forged token was not refused")
        refused = self.worker.ask("POST", "/v1/tasks", {"type": "render"})
        must(refused.status == 403, f"a worker's token could create: {refused}")
        must(Api(self.stack.url, None).ask("GET", "/livez").status == 200, "health needs no token")

    def a_worker_without_a_good_token_ends(self) -> None:
        """The API refuses it before Baton is asked, in words of its own; the worker ends as it does before a server."""
        forged = "baton_" + "0" * 32 + "_" + "0" * 64
        environment = self.stack.environment() | {"BATON_URL": self.stack.url}
        for token, kind in (({}, "no"), ({"BATON_TOKEN": forged}, "a forged")):
            command = [self.stack.baton, "worker", "run", "--id", "w5", "--", "true"]
            ended = subprocess.run(command, env=environment | token, capture_output=True, text=True, timeout=120)
            must(ended.returncode == 7, f"a worker with {kind} token ended with {ended.returncode}: {ended.stderr}")
            must("BATON_TOKEN" in ended.stderr, f"a worker with {kind} token does not say what to set: {ended.stderr}")

    def a_task_goes_its_way(self) -> None:
        task_id = self.create("way", params={"scene": 7})
        task, = self.claim("w1", "way")
        must(task["id"] == task_id and task["params"] == {"scene": 7}, f"another task was claimed: {task}")
        must(self.beat("w1", task)["lost"] == [], "a held lease was said to be lost")
        output = {"worker_id": "w1", "attempt": 1, "location": "s3://renders/7.png", "result": {"frames": 1}}
        answer = self.worker.post(f"/v1/tasks/{task_id}/complete", output)
        generation = self.producer.get(f"/v1/generations/{answer['generation_id']}")
        must(generation["task_id"] == task_id and generation["result"] == {"frames": 1}, f"the generation: {generation}")
        again = self.worker.post(f"/v1/tasks/{task_id}/complete", output)
        must(again["generation_id"] == answer["generation_id"], "the same completion again made another generation")
        wanted = ["baton.task.created", "baton.task.claimed", "baton.task.completed"]
        until("the events of a task", 30, lambda: self.events_of(task_id) == wanted)

    def a_waiting_claim_is_woken(self) -> None:
        claimed: list = []
        waiting = threading.Thread(target=lambda: claimed.extend(self.claim("w2", "doorbell", wait=20)))
        waiting.start()
        time.sleep(1)
        began = time.monotonic()
        task_id = self.create("doorbell")
        waiting.join()
        took = time.monotonic() - began
        must([task["id"] for task in claimed] == [task_id], f"the waiting claim got {claimed}")
        must(took < 15, f"the waiting claim was woken after {took:.1f} s only")
        say(f"  a waiting claim was woken after {took:.1f} s")

    def a_worker_dies(self) -> None:
        """The others go on meanwhile: what it held is taken back by the schedule, once a minute."""
        self.mortal, self.died = self.create("mortal"), time.monotonic()
        lost, = self.claim("dies", "mortal")
        self.beat("dies", lost)

    def a_dead_workers_task_goes_to_another(self) -> None:
        task_id, began = self.mortal, self.died
        until("a dead worker's task was taken back by the schedule", 150, lambda: self.status(task_id) == "queued" or self.status(task_id) == "retry")
        say(f"  taken back after {time.monotonic() - began:.0f} s")
        task = until("the task can be claimed again", 60, lambda: self.claim("lives", "mortal"))[0]
        must(task["id"] == task_id and task["attempt"] == 2, f"another attempt was expected: {task}")
        late = self.worker.ask("POST", f"/v1/tasks/{task_id}/complete", {"worker_id": "dies", "attempt": 1})
        must(late.status == 409, f"the dead worker's completion was taken: {late}")
        self.worker.post(f"/v1/tasks/{task_id}/complete", {"worker_id": "lives", "attempt": 2})
        must(self.completed(task_id) is not None, "the second worker's completion does not show")

    def tasks_come_by_queue(self) -> None:
        body = {"type": "render", "queue": "posted", "params": {"n": 1}}
        address = self.stack.queue("SubmissionsQueue")
        self.sqs.send_message(QueueUrl=address, MessageBody=json.dumps(body | {"idempotency_key": "posted-1"}))
        self.sqs.send_message(QueueUrl=address, MessageBody=json.dumps(body | {"idempotency_key": "posted-1"}))
        self.sqs.send_message(QueueUrl=address, MessageBody='{"type": 7}')
        until("a submitted task", 60, lambda: self.operator.get("/v1/tasks?queue=posted")["items"])
        dead = self.dead("baton-submissions-dead", 1)
        must(dead[0]["baton-reason-code"] == "invalid_fields", f"the bad submission's reason: {dead}")
        items = self.operator.get("/v1/tasks?queue=posted")["items"]
        must(len(items) == 1, f"one key made {len(items)} tasks")

    def completions_come_by_queue(self) -> None:
        ids = [self.create("by-queue") for _ in range(9)]
        tasks = []
        while len(tasks) < 9:
            tasks += self.claim("w3", "by-queue", most=9 - len(tasks))
        bodies = [
            json.dumps({"task_id": task["id"], "completion": {"worker_id": "w3", "attempt": 1, "location": f"s3://{n}"}})
            for n, task in enumerate(tasks)
        ]
        bodies.insert(4, '{"task_id": "no id at all", "completion": {}}')
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        self.sqs.send_message_batch(QueueUrl=self.stack.queue("CompletionsQueue"), Entries=entries)
        for task_id in ids:
            until("a completion by queue", 60, lambda: self.completed(task_id))
        dead = self.dead("baton-completions-dead", 1)
        must(dead[0]["baton-reason-code"] == "invalid_fields", f"the bad completion's reason: {dead}")

    def dead(self, queue: str, count: int) -> list[dict]:
        """The attributes of a dead-letter queue's messages."""
        address = f"{self.stack.endpoint}/000000000000/{queue}"
        got: list[dict] = []

        def look() -> bool:
            answer = self.sqs.receive_message(QueueUrl=address, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
            for message in answer.get("Messages", []):
                got.append({name: one["StringValue"] for name, one in message.get("MessageAttributes", {}).items()})
            return len(got) >= count

        until(f"{count} messages in {queue}", 60, look)
        return got

    def an_outage_is_bridged_by_the_queue(self) -> None:
        """A worker's way to the API is cut while it works; what it has done arrives before the way is mended."""
        task_id = self.create("outage")
        folder = self.stack.folder
        started, go_on, log, summary = (folder / name for name in ("started", "go-on", "worker.log", "summary.json"))
        script = f"touch {started}; while [ ! -e {go_on} ]; do sleep 0.1; done; echo '{{\"bridged\": true}}'"
        command = [
            self.stack.baton, "worker", "run", "--queue", "outage", "--id", "w4", "-o", "json",
            "--completions-queue", self.stack.queue("CompletionsQueue"), "--", "sh", "-c", script,
        ]  # fmt: skip
        with Road(self.stack.url) as road, log.open("w") as err, summary.open("w") as out:
            environment = self.stack.environment() | {"BATON_URL": road.url, "BATON_TOKEN": self.worker.token}
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
            try:
                until("the worker's program runs", 60, started.exists)
                road.cut()
                began = time.monotonic()
                go_on.touch()
                done = until("an outcome came by the queue", 60, lambda: self.completed(task_id))
                say(f"  completed by the queue {time.monotonic() - began:.1f} s after the way was cut, which it still is")
                must(done["generation"]["result"] == {"bridged": True}, f"the output that was bridged: {done}")
                road.mend()
                until("the worker has heard that its outcome is known", 60, lambda: "the server has the outcome" in log.read_text())
                second = self.create("outage")
                until("the worker takes tasks as before", 60, lambda: self.completed(second))
                process.terminate()
                must(process.wait(60) == 0, "the worker ended in disorder")
            except SystemExit:
                say(f"the end of the worker's log:\n{log.read_text()[-3000:]}")
                raise
            finally:
                process.kill()
                process.wait()
        counts = json.loads(summary.read_text())
        wanted = {"claimed": 2, "completed": 2, "detoured": 1, "unconfirmed": 0, "lost": 0, "undelivered": 0}
        must(wanted.items() <= counts.items(), f"the worker counted {counts}, not {wanted}")
        history = [event["kind"] for event in self.task(task_id)["history"]]
        must(history == ["created", "claimed", "completed"], f"the history of what was bridged: {history}")

    def the_stream_keeps_the_statistics(self) -> None:
        listed: dict[str, int] = {}
        page = self.operator.get("/v1/tasks?limit=500")
        must(page.get("next_cursor") is None, "expected fewer tasks than a page holds")
        for task in page["items"]:
            # What waits is counted as such, whether it is ready or not.
            state = "waiting" if task["status"] in ("queued", "created", "retry") else task["status"]
            listed[state] = listed.get(state, 0) + 1
        must(listed.get("completed", 0) > 10, f"expected more completed tasks, got {listed}")

        def counted() -> bool:
            stats = self.operator.get("/v1/stats")
            states = {state: tasks for state, tasks in stats["states"].items() if tasks}
            return states == listed and stats.get("counted_at") is not None

        until(f"the statistics say {listed}", 30, counted)
        # On one machine all clocks are one, and nothing is on its way.
        spans = ["--clock-skew", "1s", "--write-delay", "1s"]
        command = [self.stack.baton, "table", "rebuild-statistics", "--store", self.stack.outputs["Store"], *spans]
        done = subprocess.run(command, env=self.stack.environment(), capture_output=True, text=True, check=False)
        must(done.returncode == 0, f"baton table rebuild-statistics: {done.stderr}")
        until(f"the statistics that were made anew say {listed}", 30, counted)

    def a_damaged_record_is_put_aside_and_its_neighbours_go_on(self) -> None:
        """What no function writes comes into the table, as by another program's mistake."""
        dynamo = self.stack.client("dynamodb")
        key = {"pk": {"S": "T#damaged"}, "sk": {"S": "T"}}
        dynamo.put_item(TableName="baton-tasks", Item=key | {"st": {"S": "no state"}})
        dynamo.delete_item(TableName="baton-tasks", Key=key)
        task_id = self.create("neighbour")
        until("the events of a neighbour", 60, lambda: self.events_of(task_id) == ["baton.task.created"])
        dead = self.dead("baton-relay-dead", 1)
        must(dead[0]["baton-reason-code"] == "record_damaged", f"the damaged record's reason: {dead}")

    def baton(self, *arguments: str) -> dict:
        """What an operator's command answers."""
        environment = self.stack.environment() | {"BATON_URL": self.stack.url, "BATON_TOKEN": self.operator.token}
        command = [self.stack.baton, *arguments, "-o", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        must(done.returncode == 0, f"baton {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def a_task_waits_for_another(self) -> None:
        tasks = [
            {"type": "render", "queue": "parts", "ref": "part"},
            {"type": "stitch", "queue": "whole", "depends_on": ["part"]},
        ]
        answer = self.producer.post("/v1/tasks/batch", {"atomic": True, "tasks": tasks}, expected=201)
        part, whole = (item["task"]["id"] for item in answer["items"])
        must(self.status(whole) == "blocked", "a task does not wait for another")
        waiting: list = []
        claims = threading.Thread(target=lambda: waiting.extend(self.claim("w7", "whole", wait=20)))
        claims.start()
        time.sleep(1)
        self.claim("w6", "parts")
        self.worker.post(f"/v1/tasks/{part}/complete", {"worker_id": "w6", "attempt": 1, "result": {"frames": 1}})
        claims.join()
        must([task["id"] for task in waiting] == [whole], f"the waiting claim got {waiting}")
        must(waiting[0]["inputs"][0]["generation"]["result"] == {"frames": 1}, f"its inputs: {waiting[0].get('inputs')}")
        self.worker.post(f"/v1/tasks/{whole}/complete", {"worker_id": "w7", "attempt": 1})
        graph = self.baton("task", "graph", whole)
        must({node["status"] for node in graph["nodes"]} == {"completed"}, f"the graph: {graph}")
        why = self.baton("task", "why", whole)
        must(why["reasons"] == [] and not why["waits"], f"why a completed task waits: {why}")

    def what_was_given_up_is_shown_and_sent_back(self) -> None:
        def letters() -> list[dict]:
            return self.baton("dead-letters", "list", "submissions")["items"]

        letter, = until("a dead letter shows", 60, letters)
        must((letter["reason_code"], letter["body"]) == ("invalid_fields", '{"type": 7}'), f"the dead letter: {letter}")
        done = self.baton("dead-letters", "redrive", "submissions", "--all")
        must([one["outcome"] for one in done["outcomes"]] == ["redriven"], f"the redrive: {done}")
        back, = until("what cannot succeed comes back", 60, letters)
        must(back["id"] != letter["id"] and back["reason"] == letter["reason"], f"what came back: {back}")
        self.baton("dead-letters", "drop", "submissions", back["id"])
        must(letters() == [], "a letter that was dropped is still there")

    def a_history_is_told_again(self) -> None:
        task_id = self.create("told-again")
        until("the event of a task", 30, lambda: self.events_of(task_id) == ["baton.task.created"])
        told = self.events.pop(f"{task_id}/1")
        self.baton(
            "relay", "--store", self.stack.outputs["Store"], "--events-queue", self.stack.queue("EventsQueue"), "--task", task_id
        )
        until("the event comes again", 30, lambda: self.events_of(task_id) == ["baton.task.created"])
        must(self.events[f"{task_id}/1"] == told, "the event that came again is another one")

    def operators_commands_work_unchanged(self) -> None:
        baton = self.baton
        task_id = baton("task", "create", "--type", "render", "--queue", "operators")["id"]
        for action in ("pause", "resume"):
            baton("queue", action, "operators")
        for action in ("cancel", "retry", "cancel"):
            baton("task", action, task_id)
        for action in ("show", "history"):
            baton("task", action, task_id)
        kinds = [event["kind"] for event in self.task(task_id)["history"]]
        must(kinds == ["created", "cancelled", "retried", "cancelled"], f"what an operator did to a task: {kinds}")
        for action in ("show", "drain", "resume", "stop", "resume"):
            baton("worker", action, "w1")
        token_id = baton("token", "create", "--name", "short", "--scope", "producer")["token"]["id"]
        baton("token", "revoke", token_id)
        for arguments in (
            ["stats"],
            ["queue", "list"],
            ["worker", "list"],
            ["task", "list", "--status", "completed"],
            ["audit"],
            ["token", "list"],
            ["logs"],
            ["reap"],
        ):
            baton(*arguments)


class Road:
    """A way to the API that can be cut: connections break off, and new ones are closed at once."""

    def __init__(self, url: str):
        scheme, rest = url.split("://", 1)
        address, path = rest.split("/", 1)
        host, port = address.split(":")
        self.target = (host, int(port))
        self.open = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self.listener.getsockname()[1]}/{path}"
        self.ends: list[socket.socket] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # closed
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(self.target)
            self.ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.open = False
        ends, self.ends = self.ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.open = True

    def __enter__(self) -> "Road":
        return self

    def __exit__(self, *_) -> None:
        self.cut()
        self.listener.close()


def run(stack, operator: str, producer: str, worker: str) -> None:
    test = Run(stack, operator, producer, worker)
    for step in (
        test.callers_need_tokens,
        test.a_worker_without_a_good_token_ends,
        test.a_worker_dies,
        test.a_task_goes_its_way,
        test.a_waiting_claim_is_woken,
        test.a_task_waits_for_another,
        test.tasks_come_by_queue,
        test.completions_come_by_queue,
        test.an_outage_is_bridged_by_the_queue,
        test.a_dead_workers_task_goes_to_another,
        test.a_damaged_record_is_put_aside_and_its_neighbours_go_on,
        test.the_stream_keeps_the_statistics,
        test.operators_commands_work_unchanged,
        test.what_was_given_up_is_shown_and_sent_back,
        test.a_history_is_told_again,
    ):
        began = time.monotonic()
        step()
        say(f"{step.__name__.replace('_', ' ')}: {time.monotonic() - began:.1f} s")
