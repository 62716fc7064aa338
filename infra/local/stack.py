"""The whole AWS shape on this machine: infra/template.yaml deployed to ministack, with the programs that were built.

    python infra/local/stack.py up              deploys, prints what to set, and serves until Ctrl-C
    python infra/local/stack.py test            deploys, runs infra/local/end_to_end.py over HTTP, ends
    python infra/local/stack.py test --runs 10  as often, each time from nothing

Needs `python -m pip install -r infra/requirements.txt`. It builds the programs itself, unless --bin names a folder that
holds them. No Docker, no AWS account; every port is a free one of the loopback.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"
STACK = "baton"
REGION = "us-east-1"

# Short enough that a test sees a worker die, long enough that a busy machine does not kill a live one, and that an outage is
# bridged before its end.
PARAMETERS = {
    "Architecture": {"x86_64": "x86_64", "aarch64": "arm64"}.get(os.uname().machine, "x86_64"),
    "LogLevel": "info",
    "HeartbeatTimeoutSeconds": "15",
    "HeartbeatIntervalSeconds": "2",
    "ForgetGraceSeconds": "2",
    # As often as the engine looks at its schedules, every ten seconds. AWS takes nothing below a minute.
    "ReaperSchedule": "rate(0 minutes)",
    # Nobody is there, but with a topic all alarms are made.
    "AlarmTopic": f"arn:aws:sns:{REGION}:000000000000:alarms",
}

# The engine compares the first four with numbers, or hands them on as such, and a parameter is text to it; and it has no CodeDeploy,
# which a canary needs, and hands SAM, which asks, no parameters.
FIXED = {
    "!Ref SubmissionConcurrency": "4",
    "!Ref CompletionConcurrency": "4",
    "!Ref MostReadUnits": "20000",
    "!Ref MostWriteUnits": "20000",
    "Enabled: !Ref Canary\n": "Enabled: false\n",
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass
class Stack:
    """A deployed stack, and how to reach it."""

    endpoint: str
    url: str
    outputs: dict
    baton: Path
    folder: Path

    def client(self, service: str):
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
        )

    def environment(self) -> dict:
        """What a program needs to reach the engine."""
        return os.environ | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    def queue(self, output: str) -> str:
        """A queue's address as this machine reaches it."""
        return re.sub(r"^https?://[^/]+", self.endpoint, self.outputs[output])


def functions() -> list[str]:
    return re.findall(r"CodeUri: \.\./target/lambda/([a-z-]+)/", TEMPLATE.read_text())


def build() -> Path:
    """Builds the functions and `baton` as they are tested: without optimisation, as the speed of the engine means nothing."""
    wanted = functions()
    say(f"building {len(wanted)} functions and baton")
    packages = [f"--package=baton-{name}" for name in wanted]
    features = ",".join([f"baton-{name}/lambda" for name in wanted] + ["baton/dynamodb", "baton/sqs"])
    command = ["cargo", "build", "--locked", "--bins", *packages, "--package=baton", f"--features={features}"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return Path(target) / "debug"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def engine(folder: Path):
    """An engine of its own on a free port, ended at the end."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).parent / "ministack"
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "AWS_ENDPOINT_URL": endpoint, "TMPDIR": str(folder)}
    with (folder / "engine.log").open("w") as log:
        process = subprocess.Popen(
            [program], env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
        )
        try:
            wait_for(port, process)
            yield endpoint
        finally:
            # The functions are its children, and must end with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            # Also a function that outlived it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"the engine ended at once with {process.returncode}; see engine.log")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("the engine did not listen within 30 s")


@functools.cache
def packed(program: Path) -> bytes:
    """A function's program as Lambda takes it."""
    with tempfile.TemporaryDirectory(prefix="baton-program-") as folder:
        bootstrap = Path(shutil.copy(program, Path(folder) / "bootstrap"))
        # Debug information is most of a program's size, and nobody reads it there.
        if shutil.which("strip"):
            subprocess.run(["strip", bootstrap], check=True)
        archived = io.BytesIO()
        with zipfile.ZipFile(archived, "w") as archive:
            archive.write(bootstrap, "bootstrap")
    return archived.getvalue()


def upload(stack: Stack, bin_folder: Path) -> str:
    """Puts programs and template where CloudFormation finds them, as `sam package` does; returns the template's address."""
    s3 = stack.client("s3")
    s3.create_bucket(Bucket="code")
    for name in functions():
        s3.put_object(Bucket="code", Key=f"{name}.zip", Body=packed(bin_folder / name))
    template = re.sub(r"\.\./target/lambda/([a-z-]+)/bootstrap\.zip", r"s3://code/\1.zip", TEMPLATE.read_text())
    for reference, value in FIXED.items():
        template = template.replace(reference, value)
    s3.put_object(Bucket="code", Key="template.yaml", Body=template.encode())
    return f"{stack.endpoint}/code/template.yaml"


def deploy(stack: Stack, bin_folder: Path) -> None:
    formation = stack.client("cloudformation")
    formation.create_stack(
        StackName=STACK,
        TemplateURL=upload(stack, bin_folder),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    while True:
        described, = formation.describe_stacks(StackName=STACK)["Stacks"]
        if not described["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.2)
    if described["StackStatus"] != "CREATE_COMPLETE":
        for event in formation.describe_stack_events(StackName=STACK)["StackEvents"]:
            if event["ResourceStatus"].endswith("FAILED"):
                say(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}")
        raise SystemExit(f"the stack was not deployed: {described['StackStatus']}; see {stack.folder}/engine.log")
    stack.outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
    # By path, as not every resolver knows names under .localhost.
    api = re.match(r"https?://([a-z0-9]+)\.", stack.outputs["Url"]).group(1)
    stack.url = f"{stack.endpoint}/_aws/execute-api/{api}/$default"


def run_baton(stack: Stack, *arguments: str) -> str:
    command = [stack.baton, *arguments]
    done = subprocess.run(command, env=stack.environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"baton {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def deployed(bin_folder: Path):
    """The stack from nothing, its table finished, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="baton-stack-"))
    try:
        with engine(folder) as endpoint:
            stack = Stack(endpoint=endpoint, url="", outputs={}, baton=bin_folder / "baton", folder=folder)
            began = time.monotonic()
            try:
                deploy(stack, bin_folder)
            except (BotoCoreError, ClientError) as error:
                raise SystemExit(f"the engine refused the stack: {str(error)[:2000]}") from error
            run_baton(stack, "table", "create", "--store", stack.outputs["Store"], "--statistics", "stream")
            say(f"deployed in {time.monotonic() - began:.1f} s")
            yield stack
    except BaseException:
        log = folder / "engine.log"
        if log.exists():
            say(f"the end of the engine's log:\n{log.read_text()[-4000:]}")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def token(stack: Stack, *scopes: str) -> str:
    arguments = [part for scope in scopes for part in ("--scope", scope)]
    made = run_baton(
        stack, "token", "create", "--store", stack.outputs["Store"], "--name", "-".join(scopes), *arguments, "-o", "json"
    )
    return json.loads(made)["secret"]


def up(bin_folder: Path) -> None:
    with deployed(bin_folder) as stack:
        operator = token(stack, "operator")
        print(f"export BATON_URL='{stack.url}'")
        print(f"export BATON_TOKEN='{operator}'")
        print(f"export AWS_ENDPOINT_URL={stack.endpoint} AWS_REGION={REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local")
        for output in ("SubmissionsQueue", "CompletionsQueue", "EventsQueue"):
            print(f"# {output}: {stack.queue(output)}", flush=True)
        say("serving; Ctrl-C ends and removes all of it")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def smoke(stack: Stack) -> None:
    """The last step of a deployment, as infra/deploy.sh does it on AWS."""
    command = [ROOT / "infra" / "deploy.sh", "smoke", "--url", stack.url, "--store", stack.outputs["Store"]]
    subprocess.run(command, env=stack.environment() | {"BATON": str(stack.baton)}, check=True)


def files_in_a_bucket(stack: Stack, bin_folder: Path) -> None:
    """Files in S3, by the tests that were built beside the programs."""
    tests = [path for path in (bin_folder / "deps").glob("s3-*") if not path.suffix and os.access(path, os.X_OK)]
    if not tests:
        say("NOT TESTED: files in S3; `cargo test -p baton-files --features s3 --no-run` builds their tests")
        return
    stack.client("s3").create_bucket(Bucket="files")
    latest = max(tests, key=lambda path: path.stat().st_mtime)
    subprocess.run([latest, "--quiet"], env=stack.environment() | {"BATON_TEST_S3_BUCKET": "files"}, check=True)


def test(bin_folder: Path, runs: int) -> None:
    from end_to_end import run

    for number in range(1, runs + 1):
        began = time.monotonic()
        with deployed(bin_folder) as stack:
            run(stack, token(stack, "operator"), token(stack, "producer"), token(stack, "worker"))
            smoke(stack)
            files_in_a_bucket(stack, bin_folder)
        say(f"run {number} of {runs} passed in {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["up", "test"])
    parser.add_argument("--runs", type=int, default=1, help="how often to test, each time from nothing")
    parser.add_argument("--bin", type=Path, help="the folder that holds the programs; built if not named")
    arguments = parser.parse_args()
    bin_folder = arguments.bin.resolve() if arguments.bin else build()
    missing = [name for name in [*functions(), "baton"] if not (bin_folder / name).is_file()]
    if missing:
        raise SystemExit(f"expected the programs in {bin_folder}, got no {', '.join(missing)}; leave --bin out to build them")
    if arguments.what == "up":
        up(bin_folder)
    else:
        test(bin_folder, arguments.runs)


if __name__ == "__main__":
    # Ended by a signal, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
