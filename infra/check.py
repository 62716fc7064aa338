"""Holds infra/template.yaml against the programs and their documents. Prints each thing that does not fit; exit code 1
if there is one.

    python -m pip install -r infra/requirements.txt
    python infra/check.py

cfn-lint knows what CloudFormation takes. What it cannot know is checked here: that each function has its program and each
program its function, each route its handler and each handler its route, that each permission is used and each use is
permitted, that each setting of a function exists, and that the table is the one that the store expects; and, in check_service.py,
that no route is without a throttle, no path without an answer, no alarm unable to sound. infra/planted.py plants each such
mistake and holds this program to finding it.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from cfnlint.decode import cfn_yaml

import check_service
from check_service import listed, of_type, ref

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"

# Sections of settings that concern a server, and no function.
SERVERS_OWN = {"server", "reaper", "fleet", "log", "ui", "keda"}

# Lists of sections that the environment sets as JSON (shared/runtime/src/settings/layers.rs), and the functions that go by them.
LISTS = {"BATON_SCALING": {"reap-stale-workers"}}

# Functions whose routes are in no OpenAPI document, and which are there if a parameter asks for them.
ALERTS = {"manage-alerts"}

# The dialect that a function speaks, and its settings that concern a server alone: where it listens, and its folder of files.
SPOKEN = "dialects.edge-functions"
SERVED = {"on", "listen", "prefix", "files"}

# The routes of its API, by the beginning of their paths: all that the dialect has is behind them, and it knows its callers itself
# (docs/decisions/0040-a-dialect-on-lambda-knows-its-callers-itself.md).
FAMILIES = ("functions", "rest", "storage")

found: list[str] = []


def expect(holds: bool, what: str) -> None:
    if not holds:
        found.append(what)


def same(what: str, template: set, programs: set) -> None:
    """Both sides must name the same."""
    for one in sorted(map(str, template - programs)):
        found.append(f"{what}: the template has {one}, and nothing in the programs answers to it")
    for one in sorted(map(str, programs - template)):
        found.append(f"{what}: the programs have {one}, and the template lacks it")


def programs() -> set[str]:
    """The binaries that the function crates declare."""
    names = set()
    for manifest in ROOT.glob("functions/*/Cargo.toml"):
        content = tomllib.loads(manifest.read_text())
        names |= {binary["name"] for binary in content.get("bin", [])}
    return names


def handlers() -> dict[str, str]:
    """Each route that a function crate declares (`POST /v1/tasks`), with the crate's function."""
    routes = {}
    declared = re.compile(r"#\[utoipa::path\(\s*(get|post|put|patch|delete),\s*path = \"([^\"]+)\"", re.S)
    for source in ROOT.glob("functions/*/src/**/*.rs"):
        function = source.relative_to(ROOT / "functions").parts[0]
        for method, path in declared.findall(source.read_text()):
            routes[f"{method.upper()} {path}"] = function
    return routes


def undocumented() -> dict[str, str]:
    """Each route of a function that is in no OpenAPI document, as not every shape of Baton has it: it is added to a router by its path."""
    routes = {}
    added = re.compile(r"\.route\(\s*\"(/v1/[^\"]+)\",\s*(.*?)\)\s*(?=\.route|\n)", re.S)
    for function in sorted(ALERTS):
        for path, methods in added.findall((ROOT / "functions" / function / "src" / "lib.rs").read_text()):
            for method in re.findall(r"\b(get|post|put|patch|delete)\(", methods):
                routes[f"{method.upper()} {path}"] = function
    return routes


def file_routes() -> dict[str, str]:
    """The routes of files, which are in no OpenAPI document, by their rules; with their function. API Gateway writes {path+} for {*path}."""
    source = (ROOT / "shared" / "http" / "src" / "auth" / "rules.rs").read_text()
    listed = re.search(r"pub const FILE_RULES: &\[Rule\] = &\[(.*?)\n\];", source, re.S)
    rules = listed.group(1) if listed else ""
    named = re.compile(r'(?:method: "([A-Z]+)", \.\.)?Rule::(open|get|put|post|delete)\("([^"]+)"')
    word = lambda method, kind: method or ("GET" if kind == "open" else kind.upper())
    return {f"{word(method, kind)} {path.replace('{*path}', '{path+}')}": "manage-files" for method, kind, path in named.findall(rules)}


def check_functions(resources: dict) -> dict[str, str]:
    """Returns the functions' names by their logical ids."""
    functions = {}
    for logical, properties in of_type(resources, "AWS::Serverless::Function").items():
        match = re.fullmatch(r"\.\./target/lambda/([a-z-]+)/bootstrap\.zip", str(properties["CodeUri"]))
        expect(match is not None, f"{logical}: expected CodeUri ../target/lambda/NAME/bootstrap.zip, got {properties['CodeUri']}")
        functions[logical] = match.group(1) if match else logical
        name = properties["FunctionName"]["Fn::Sub"]
        expect(name == "${AWS::StackName}-" + functions[logical], f"{logical}: expected to be named by its program, got {name}")
        expect(ref(properties["Role"]) == f"{logical}Role", f"{logical}: expected a role of its own")
        expect(f"{logical}Logs" in resources, f"{logical}: expected a log group with a retention")
    same("functions", set(functions.values()), programs())
    return functions


def check_routes(resources: dict, functions: dict[str, str]) -> None:
    integrations = {
        name: ref(one["IntegrationUri"]) for name, one in of_type(resources, "AWS::ApiGatewayV2::Integration").items()
    }
    routes = {}
    spoken = {}
    for name, route in of_type(resources, "AWS::ApiGatewayV2::Route").items():
        if ref(route["ApiId"]) == "EdgeApi":
            spoken[route["RouteKey"]] = functions.get(integrations.get(ref(route["Target"]), ""), "?")
            expect("AuthorizationType" not in route, f"{name}: expected no authorizer, as edge-functions knows its callers itself")
            continue
        key = route["RouteKey"]
        expect(key not in routes, f"{name}: the route {key} stands twice")
        routes[key] = functions.get(integrations.get(ref(route["Target"]), ""), "?")
        path = key.split(" ")[1]
        is_open = not path.startswith("/v1/") or path.startswith("/v1/signed-files/")
        guarded = route.get("AuthorizationType") == "CUSTOM" and ref(route.get("AuthorizerId")) == "TokenAuthorizer"
        expect(guarded != is_open, f"{name}: expected {'no authorizer' if is_open else 'the authorizer'} for {key}")
    same("routes of EdgeApi", set(spoken.items()), {(f"ANY /{one}/v1/{{proxy+}}", "edge-functions") for one in FAMILIES})
    paths = json.loads((ROOT / "docs" / "dialects" / "edge-functions.json").read_text())["paths"]
    behind = {path.split("/")[1] for path in paths if path.split("/")[2] == "v1"}
    expect(behind == set(FAMILIES) and all(path.split("/")[2] == "v1" for path in paths), f"EdgeApi: expected routes for all of {sorted(paths)}")
    files = file_routes()
    expect(len(files) == 7, f"FILE_RULES: expected seven routes of files, read {sorted(files)}")
    more = undocumented() | files
    declared = handlers() | more
    same("routes", set(routes.items()), set(declared.items()))
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    documented = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    same("routes of docs/openapi.json", set(routes) - set(more), documented)
    permitted = {ref(one["FunctionName"]) for one in of_type(resources, "AWS::Lambda::Permission").values()}
    expect(permitted == set(integrations.values()) | {"Authorize"}, f"permissions to call functions: got {sorted(permitted)}")


# Rights, by the actions that come to the same: who may read an item in one way learns all that the others tell, and who may
# put one may change it. docs/decisions/0017-keys-of-roles.md tells why they are not held apart.
RIGHTS = {"GetItem": "read", "BatchGetItem": "read", "Query": "read", "PutItem": "write", "UpdateItem": "write", "DeleteItem": "remove"}

# What names items, so that a condition on their keys holds. A scan names none, and a condition on all of no keys is true.
KEYED = {f"dynamodb:{one}" for one in (*RIGHTS, "BatchWriteItem", "ConditionCheckItem")}

# The attributes that name an item: a change of it names them too.
KEYS = {"pk", "sk"}


def right(action: str) -> str:
    return RIGHTS.get(action.removeprefix("dynamodb:"), action)


def rights(seen: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """What a role is to allow for what was seen: a write's answer may bring the item, so that who writes may read; and who
    may put a token may change each attribute of it."""
    wider = {("read", place, key) for right, place, key in seen if right in ("write", "remove") and "(" not in key}
    puts = {place for right, place, key in seen if (right, key) == ("write", "K#*")}
    return {one for one in seen | wider if not ("(" in one[2] and one[1] in puts)}


def keys_of(logical: str, actions: list, statement: dict) -> set[str]:
    """The keys that a statement is bound to, each as infra/actions.json has it."""
    condition = dict(statement.get("Condition", {}))
    keys = condition.pop("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", [])
    names = condition.pop("ForAllValues:StringEquals", {}).get("dynamodb:Attributes", [])
    expect(keys and not condition, f"{logical}: expected {', '.join(actions)} to be bound to dynamodb:LeadingKeys, got {statement.get('Condition')}")
    changes_tokens = actions == ["dynamodb:UpdateItem"] and keys == ["K#*"]
    expect(changes_tokens or not names, f"{logical}: expected a list of attributes for tokens alone, got {names} for {keys}")
    if not changes_tokens:
        return set(keys)
    expect(set(names) >= KEYS, f"{logical}: expected the attributes {sorted(KEYS)} where others are named, got {names}")
    return {f"K#* ({name})" for name in set(names) - KEYS}


def allowed(resources: dict, logical: str) -> tuple[set[tuple[str, str]], set[tuple[str, str, str]]]:
    """What a function's role allows: actions, each with the resource that it is allowed on; and of the table's items, what
    may be done with which keys."""
    role = resources[f"{logical}Role"]["Properties"]
    expect("ManagedPolicyArns" not in role, f"{logical}: expected statements of its own only, got managed policies")
    pairs, items = set(), set()
    # Besides its own those that it has where a parameter asks for what they are for; and not those that all roles have.
    more = [one for name, one in of_type(resources, "AWS::IAM::Policy").items() if name.startswith(f"{logical}May")]
    for one in more:
        expect([ref(role) for role in one["Roles"]] == [f"{logical}Role"], f"{logical}: expected {one['PolicyName']} to be its own policy")
    for policy in [*role["Policies"], *more]:
        for statement in policy["PolicyDocument"]["Statement"]:
            expect(statement["Effect"] == "Allow", f"{logical}: expected statements that allow, got {statement['Effect']}")
            actions = listed(statement["Action"])
            for place in listed(statement["Resource"]):
                # Of a bucket, what lies under which beginnings of paths: all of it is no key.
                below = place["Fn::Sub"].partition(".Arn}/")[2] if isinstance(place, dict) and "Fn::Sub" in place else ""
                index = "/index" if isinstance(place, dict) and "/index/" in str(place.get("Fn::Sub", "")) else ""
                place = "*" if place == "*" else ref(place) + index
                pairs |= {(action, place) for action in actions}
                items |= {(action, place, below) for action in actions if action.startswith("s3:") and below not in ("", "*")}
                if place in ("Table", "Table/index") and KEYED & set(actions):
                    keys = keys_of(logical, actions, statement)
                    items |= {(right(action), place, key) for action in actions for key in keys}
    return pairs, items


def check_permissions(resources: dict, functions: dict[str, str]) -> None:
    """A function may do what it was seen to do, and what Lambda does in its name; and nothing else."""
    seen = json.loads((ROOT / "infra" / "actions.json").read_text())
    same("functions of infra/actions.json", set(functions.values()), set(seen))
    for logical, function in functions.items():
        places = seen.get(function, {})
        used = {(action, place) for place, actions in places.items() for action in actions}
        items = {
            (right(action), place, key)
            for place, actions in places.items() for action, keys in actions.items() for key in keys
        }  # fmt: skip
        used |= {("logs:CreateLogStream", f"{logical}Logs"), ("logs:PutLogEvents", f"{logical}Logs")}
        for mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").values():
            if ref(mapping["FunctionName"]) != logical:
                continue
            source = ref(mapping["EventSourceArn"])
            if source == "Table":
                used |= {(f"dynamodb:{one}", "Table") for one in ("DescribeStream", "GetRecords", "GetShardIterator")}
                used.add(("dynamodb:ListStreams", "*"))
            else:
                used |= {(f"sqs:{one}", source) for one in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")}
            failed = mapping.get("DestinationConfig", {}).get("OnFailure")
            if failed:
                used |= {(f"s3:{one}", ref(failed["Destination"])) for one in ("PutObject", "ListBucket")}
        failed = resources[logical]["Properties"].get("EventInvokeConfig", {}).get("DestinationConfig", {}).get("OnFailure")
        if failed:
            used.add(("sqs:SendMessage", ref(failed["Destination"])))
        may, may_items = allowed(resources, logical)
        same(f"permissions of {function}", may, used)
        same(f"keys of {function}", may_items, rights(items))
        # A key of the operator's and traces: policies of their own, for those who have them.
        for policy in ("MayUseKey", "MayBeTraced"):
            roles = {ref(role) for role in resources[policy]["Properties"]["Roles"]}
            expect(f"{logical}Role" in roles, f"{policy}: expected {logical}Role among its roles")
        # A queue that a function is not told of is one that it does not use, without a word.
        told = resources[logical]["Properties"].get("Environment", {}).get("Variables", {})
        told = {ref(value) for variable, value in told.items() if variable.startswith("BATON_QUEUES_")}
        buckets = of_type(resources, "AWS::S3::Bucket")
        for queue in sorted(place for place in places if not place.startswith("Table") and place not in buckets):
            expect(queue in told, f"{logical}: expected a variable BATON_QUEUES_… that names {queue}")


def check_settings(template: dict) -> None:
    """Each variable is a setting; each setting that concerns a function is a parameter."""
    defaults = tomllib.loads((ROOT / "shared" / "runtime" / "defaults.toml").read_text())
    dialects = {f"dialects.{name}": table for name, table in defaults.pop("dialects").items()}
    name_of = lambda section, key: f"BATON_{section}_{key}".upper().replace(".", "_").replace("-", "_")
    known = {name_of(section, key): section for section, table in (defaults | dialects).items() for key in table}
    everywhere = template["Globals"]["Function"]["Environment"]["Variables"]
    variables = dict(everywhere)
    for properties in of_type(template["Resources"], "AWS::Serverless::Function").values():
        variables |= properties.get("Environment", {}).get("Variables", {})
    for variable, functions in LISTS.items():
        told = {logical for logical, properties in of_type(template["Resources"], "AWS::Serverless::Function").items()
                if variable in properties.get("Environment", {}).get("Variables", {})}
        same(f"functions with {variable}", told, {"".join(part.title() for part in name.split("-")) for name in functions})
    for variable in set(variables) - set(LISTS):
        expect(variable in known, f"settings: {variable} is no setting of shared/runtime/defaults.toml")
    # On SQLite alone; when a table is made; functions always ask for tokens; and workers alone send outcomes by a queue.
    elsewhere = {
        "BATON_STORE_DURABILITY",
        "BATON_STORE_MAX_MEBIBYTES",
        "BATON_DYNAMODB_SPREAD",
        "BATON_DYNAMODB_RECOVERY",
        "BATON_TOKENS_REQUIRED",
        "BATON_QUEUES_COMPLETIONS",
        *(name_of(SPOKEN, key) for key in SERVED),
    }
    others = SERVERS_OWN | set(dialects) - {SPOKEN}
    for variable, section in known.items():
        if section not in others and variable not in elsewhere:
            expect(variable in variables, f"settings: the template sets no {variable}")
    used = json.dumps(template)
    for parameter in template["Parameters"]:
        expect(f'"Ref": "{parameter}"' in used or f"${{{parameter}}}" in used, f"parameters: nothing uses {parameter}")


def check_archive(template: dict) -> None:
    """All functions know that finished tasks are archived, so that none gives one an end; who archives may do so where that is."""
    resources = template["Resources"]
    url = template["Globals"]["Function"]["Environment"]["Variables"].get("BATON_ARCHIVE_URL")
    place = {"Fn::If": ["Archived", {"Fn::Sub": "s3://${ArchiveBucket}"}, ""]}
    expect(url == place, f"Globals: expected BATON_ARCHIVE_URL to name ArchiveBucket where it is there, got {url}")
    bucket = resources["ArchiveBucket"]
    expect(bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain", "ArchiveBucket: expected it to outlive the stack")
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    kept = all(set(rule) <= {"Status", "AbortIncompleteMultipartUpload"} for rule in rules)
    expect(kept, f"ArchiveBucket: expected no rule by which tasks go, got {rules}")


def check_files(resources: dict) -> None:
    """Who may touch the bucket of files is told of it, and the bucket outlives the stack and is nobody else's."""
    bucket = resources["FilesBucket"]
    expect(bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain", "FilesBucket: expected it to outlive the stack")
    properties = bucket["Properties"]
    blocked = properties.get("PublicAccessBlockConfiguration", {})
    wanted = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    expect({name for name, on in blocked.items() if on is True} == wanted, f"FilesBucket: expected no public access, got {blocked}")
    expect("BucketEncryption" in properties, "FilesBucket: expected encryption")
    rules = properties["LifecycleConfiguration"]["Rules"]
    expect(any("AbortIncompleteMultipartUpload" in rule for rule in rules), "FilesBucket: expected uploads that were cut off to end")
    expired = {rule.get("Prefix") for rule in rules if "ExpirationInDays" in rule}
    expect(expired == {"uploads/"}, f"FilesBucket: expected nothing to expire but what lies under uploads/, got {expired}")
    denied = [
        statement["Condition"]
        for one in of_type(resources, "AWS::S3::BucketPolicy").values() if ref(one["Bucket"]) == "FilesBucket"
        for statement in one["PolicyDocument"]["Statement"] if statement["Effect"] == "Deny"
    ]  # fmt: skip
    expect({"Bool": {"aws:SecureTransport": "false"}} in denied, "FilesBucket: expected a policy that denies whoever speaks to it without TLS, got none")
    seen = json.loads((ROOT / "infra" / "actions.json").read_text())
    for logical, function in of_type(resources, "AWS::Serverless::Function").items():
        told = ref(function.get("Environment", {}).get("Variables", {}).get("BATON_FILES_URL"))
        name = function["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        uses = "FilesBucket" in seen.get(name, {})
        expect((told == "FilesBucket") == uses, f"{logical}: expected BATON_FILES_URL for those that use files, and for no others, got {told or 'none'}")


def check_table(resources: dict) -> None:
    table = resources["Table"]
    properties = table["Properties"]
    source = (ROOT / "shared" / "store-dynamodb" / "src" / "row.rs").read_text()
    declared = re.search(r"const PROJECTED: \[&str; \d+\] = \[(.*?)\];", source, re.S)
    projected = re.findall(r'"([a-z]+)"', declared.group(1)) if declared else []
    index, = properties["GlobalSecondaryIndexes"]
    same("the index's attributes", set(index["Projection"]["NonKeyAttributes"]), set(projected))
    keys = lambda schema: [one["AttributeName"] for one in schema]
    expect(keys(properties["KeySchema"]) == ["pk", "sk"], "the table's keys: expected pk and sk")
    expect(keys(index["KeySchema"]) == ["ip", "is"], "the index's keys: expected ip and is")
    expect(index["IndexName"] == "state", "the index: expected the name state")
    view = properties["StreamSpecification"]["StreamViewType"]
    expect(view == "NEW_AND_OLD_IMAGES", f"the stream: expected NEW_AND_OLD_IMAGES, got {view}")
    ends = properties["TimeToLiveSpecification"]
    expect(ends == {"AttributeName": "xp", "Enabled": True}, f"the time to live: expected xp, got {ends}")
    expect(properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True, "expected point-in-time recovery")
    expect(properties["BillingMode"] == {"Fn::If": ["Provisioned", "PROVISIONED", "PAY_PER_REQUEST"]}, "expected to pay by request, unless Billing says otherwise")
    for place in (properties, index):
        expect("OnDemandThroughput" in place, "the table: expected ceilings of what it uses on demand, also of its index")
    expect(table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain", "expected the table to outlive the stack")


def check_the_rest(template: dict) -> None:
    resources = template["Resources"]
    function = template["Globals"]["Function"]
    expect(function["Runtime"] == "provided.al2023" and function["Handler"] == "bootstrap", "expected provided.al2023 and bootstrap")
    expect(template["Parameters"]["Architecture"]["Default"] == "arm64", "expected ARM by default")
    for name, group in of_type(resources, "AWS::Logs::LogGroup").items():
        expect("RetentionInDays" in group, f"{name}: expected a retention")


def check(template: dict) -> list[str]:
    """All that does not fit."""
    found.clear()
    resources = template["Resources"]
    functions = check_functions(resources)
    check_routes(resources, functions)
    check_permissions(resources, functions)
    check_settings(template)
    check_table(resources)
    check_files(resources)
    check_archive(template)
    check_the_rest(template)
    found.extend(check_service.all_of_it(template, functions))
    return list(found)


def main() -> int:
    lint = subprocess.run([Path(sys.executable).parent / "cfn-lint", TEMPLATE], check=False)
    template = cfn_yaml.load(str(TEMPLATE))
    faults = check(template)
    if lint.returncode != 0:
        faults.insert(0, "cfn-lint has found faults")
    for one in faults:
        print(f"infra/template.yaml: {one}", file=sys.stderr)
    if not faults:
        count = len(of_type(template["Resources"], "AWS::Serverless::Function"))
        print(f"infra/template.yaml fits: {count} functions, {len(template['Resources'])} resources")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
