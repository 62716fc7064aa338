"""The part of infra/check.py about what serves: throttles, paths without an answer, alarms that sound, queues, the access log.
Each check takes the template and yields what does not fit.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What AWS tells, by which dimensions: an alarm must name all of one set. An empty set is the whole account.
TOLD_BY_AWS = {
    ("AWS/Lambda", "Invocations"): [{"FunctionName"}, set()],
    ("AWS/Lambda", "Errors"): [{"FunctionName"}, set()],
    ("AWS/Lambda", "Throttles"): [{"FunctionName"}, set()],
    ("AWS/Lambda", "ConcurrentExecutions"): [{"FunctionName"}, set()],
    ("AWS/Lambda", "IteratorAge"): [{"FunctionName"}],
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): [{"QueueName"}],
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): [{"QueueName"}],
    ("AWS/ApiGateway", "5xx"): [{"ApiId"}],
    # By table and by index; requests that are throttled are counted by table and operation instead.
    ("AWS/DynamoDB", "ReadThrottleEvents"): [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}],
    ("AWS/DynamoDB", "WriteThrottleEvents"): [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}],
}

# What a dimension names.
NAMED = {
    "FunctionName": "AWS::Serverless::Function",
    "QueueName": "AWS::SQS::Queue",
    "ApiId": "AWS::ApiGatewayV2::Api",
    "TableName": "AWS::DynamoDB::Table",
    "Table": "AWS::DynamoDB::Table",
}

# What else than requests triggers functions, as their metrics call it.
TRIGGERS = {"queue", "stream", "schedule", "authorizer"}

# A batch that a killed function was working on is hidden for no longer.
HIDDEN_SECONDS = 90

# How long a stream keeps a record.
STREAM_SECONDS = 86_400

# What API Gateway may write between quotes: none of it can hold one. Not so messages of errors, paths and user agents.
PLAIN = {
    "requestTime", "requestId", "httpMethod", "routeKey", "status", "responseLatency", "responseLength", "integrationStatus",
    "identity.sourceIp", "error.responseType", "authorizer.status", "authorizer.token_id",
}  # fmt: skip


def of_type(resources: dict, kind: str) -> dict:
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def ref(value) -> str:
    """The resource that a !Ref, a !GetAtt or a !Sub names first; of an !If, that of its first branch."""
    if isinstance(value, dict) and len(value) == 1:
        (function, argument), = value.items()
        if function == "Ref":
            return argument.split(".")[0]
        if function == "Fn::GetAtt":
            return argument[0] if isinstance(argument, list) else argument.split(".")[0]
        if function == "Fn::Sub":
            match = re.search(r"\$\{([A-Za-z]+)", argument if isinstance(argument, str) else argument[0])
            return match.group(1) if match else ""
        if function == "Fn::If":
            return ref(argument[1])
    return ""


def throttles(template: dict) -> Iterator[str]:
    """Each route has a throttle; one that anybody may call has its own, so that it takes nothing from those with a token."""
    limits = ("ThrottlingRateLimit", "ThrottlingBurstLimit")
    resources = template["Resources"]
    routes = of_type(resources, "AWS::ApiGatewayV2::Route")
    for stage, properties in of_type(resources, "AWS::ApiGatewayV2::Stage").items():
        every = properties.get("DefaultRouteSettings", {})
        own = properties.get("RouteSettings", {})
        waits_for = set(listed(resources[stage].get("DependsOn", [])))
        keys = {route["RouteKey"]: name for name, route in routes.items() if ref(route["ApiId"]) == ref(properties["ApiId"])}
        # Where nobody has been asked for a token, there is nobody to take anything from.
        has_guarded = any(routes[name].get("AuthorizationType", "NONE") != "NONE" for name in keys.values())
        for limit in limits:
            if limit not in every:
                yield f"{stage}: expected {limit} in DefaultRouteSettings, got none: no route has a throttle"
        for key, name in keys.items():
            if not has_guarded or routes[name].get("AuthorizationType", "NONE") != "NONE":
                continue
            for limit in limits:
                if own.get(key, {}).get(limit, every.get(limit)) == every.get(limit):
                    yield f"{name}: expected a throttle of its own for {key}, which needs no token, got no {limit}; add it to RouteSettings of {stage}"
        for key in own:
            if key not in keys:
                yield f"{stage}: RouteSettings name {key}, which is no route"
            elif keys[key] not in waits_for:
                yield f"{stage}: expected DependsOn {keys[key]}, as RouteSettings name a route that must be there first"


def is_bounded(value, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def answerless(template: dict) -> Iterator[str]:
    """Where nobody hears an answer, what fails is put aside, within a time."""
    resources = template["Resources"]
    functions = of_type(resources, "AWS::Serverless::Function")
    queues = of_type(resources, "AWS::SQS::Queue")
    for name, queue in queues.items():
        # A ring that nobody has heard is of no use to anybody.
        if not name.endswith("Dead") and name != "Ready":
            dead = ref(queue.get("RedrivePolicy", {}).get("deadLetterTargetArn"))
            if dead != f"{name}Dead":
                yield f"{name}: expected {name}Dead as its dead-letter queue, got {dead or 'none'}"
    for name, mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").items():
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: expected partial batches (ReportBatchItemFailures), got {mapping.get('FunctionResponseTypes')}"
        source = ref(mapping["EventSourceArn"])
        if source in queues:
            hidden = queues[source].get("VisibilityTimeout", 30)
            limit = functions[ref(mapping["FunctionName"])].get("Timeout", template["Globals"]["Function"]["Timeout"])
            if not is_bounded(hidden, limit, HIDDEN_SECONDS):
                yield f"{source}: expected a VisibilityTimeout from its function's time limit, {limit} s, to {HIDDEN_SECONDS} s, got {hidden}"
            continue
        dead = ref(mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        # A queue or a topic would be told only where in the stream they were, which forgets them.
        if dead not in of_type(resources, "AWS::S3::Bucket"):
            yield f"{name}: expected a bucket as the destination of records that fail for good (OnFailure), got {dead or 'none'}"
        if mapping.get("BisectBatchOnFunctionError") is not True:
            yield f"{name}: expected BisectBatchOnFunctionError, so that neighbours of a record that kills the function go on"
        if mapping.get("MaximumRetryAttempts", -1) != -1:
            yield f"{name}: expected records to be bounded by age, got {mapping['MaximumRetryAttempts']} tries, which an outage uses up"
        age = mapping.get("MaximumRecordAgeInSeconds", -1)
        if not is_bounded(age, STREAM_SECONDS // 2, STREAM_SECONDS - 3_600):
            yield f"{name}: expected a MaximumRecordAgeInSeconds of 12 to 23 hours, as the stream forgets a record after 24 unseen, got {age}"
    for name, schedule in of_type(resources, "AWS::Scheduler::Schedule").items():
        target = schedule["Target"]
        function = ref(target["Arn"])
        if ref(target.get("DeadLetterConfig", {}).get("Arn")) not in queues:
            yield f"{name}: expected a dead-letter queue for calls that do not arrive (DeadLetterConfig), got none"
        asynchronous = functions.get(function, {}).get("EventInvokeConfig", {})
        dead = ref(asynchronous.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        if dead not in queues:
            yield f"{function}: expected a dead-letter queue for calls of {name} that fail (EventInvokeConfig, OnFailure), got {dead or 'none'}"
        for place, kept in ((name, target.get("RetryPolicy", {})), (function, asynchronous)):
            if kept.get("MaximumRetryAttempts") != 0:
                yield f"{place}: expected no retries of the schedule's calls (MaximumRetryAttempts: 0), as the next one comes anyway"
            if not is_bounded(kept.get("MaximumEventAgeInSeconds"), 60, 300):
                yield f"{place}: expected a MaximumEventAgeInSeconds of 60 to 300, got {kept.get('MaximumEventAgeInSeconds')}"


def queues(template: dict) -> Iterator[str]:
    resources = template["Resources"]
    policies = of_type(resources, "AWS::SQS::QueuePolicy")
    denied = {}
    for policy in policies.values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if (statement["Effect"], statement.get("Condition")) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}}):
                denied |= {ref(queue): ref(statement["Resource"]) for queue in policy["Queues"]}
    for name, queue in of_type(resources, "AWS::SQS::Queue").items():
        if "SqsManagedSseEnabled" not in queue or ref(queue.get("KmsMasterKeyId")) != "KeyArn":
            yield f"{name}: expected encryption by SQS, or by the key that KeyArn names"
        if denied.get(name) != name:
            yield f"{name}: expected a policy that denies whoever speaks to it without TLS, got none"


def access_log(template: dict) -> Iterator[str]:
    """A line is JSON whatever is in it, and tells from where and with which token somebody came."""
    for stage, properties in of_type(template["Resources"], "AWS::ApiGatewayV2::Stage").items():
        line = properties["AccessLogSettings"]["Format"]
        named = set(re.findall(r"\$context\.([A-Za-z0-9_.]+)", line))
        for variable in sorted(named - PLAIN):
            yield f"{stage}: the access log has $context.{variable}, which may hold a quote and break its line"
        has_authorizer = any(ref(one["ApiId"]) == ref(properties["ApiId"]) for one in of_type(template["Resources"], "AWS::ApiGatewayV2::Authorizer").values())
        for wanted in ("identity.sourceIp", "requestId", *(["authorizer.token_id"] if has_authorizer else [])):
            if wanted not in named:
                yield f"{stage}: expected $context.{wanted} in the access log, got none"
        # What API Gateway does not know it writes as a minus, which is JSON within quotes alone.
        try:
            json.loads(re.sub(r"\$context\.[A-Za-z0-9_.]+", "-", line))
        except ValueError as error:
            yield f"{stage}: expected lines of the access log to be JSON: {error}"


def told_by_functions() -> tuple[set[str], set[str]]:
    """The names of metrics that functions tell: of rounds and of what is passed over, by table alone, and of invocations."""
    rounds = [*(ROOT / "functions" / "reap-stale-workers" / "src").rglob("*.rs"), ROOT / "shared" / "lambda" / "src" / "host.rs"]
    invocations = (ROOT / "shared" / "lambda" / "src" / name for name in ("metrics.rs", "counted.rs"))
    names = lambda files: {name for file in files for name in re.findall(r'"([A-Z][A-Za-z]+)"', file.read_text())}
    return names(rounds), names(invocations)


def alarms(template: dict, functions: dict[str, str]) -> Iterator[str]:
    """Each alarm can sound: its metric is told, by these dimensions, and silence hides no trouble."""
    resources = template["Resources"]
    by_round, by_invocation = told_by_functions()
    keys = {route["RouteKey"] for route in of_type(resources, "AWS::ApiGatewayV2::Route").values()}
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        namespace, metric = alarm["Namespace"], alarm["MetricName"]
        dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
        if namespace == "Baton":
            per_invocation = metric in by_invocation and set(dimensions) == {"Table", "Function", "Route"}
            if not per_invocation and not (metric in by_round and set(dimensions) == {"Table"}):
                yield f"{name}: cannot sound, as no function tells {metric} by {sorted(dimensions)}"
            if per_invocation:
                if dimensions["Function"] not in functions.values():
                    yield f"{name}: cannot sound, as there is no function {dimensions['Function']}"
                if dimensions["Route"] not in TRIGGERS | keys:
                    yield f"{name}: cannot sound, as there is no route or trigger {dimensions['Route']}"
        elif set(dimensions) not in TOLD_BY_AWS.get((namespace, metric), []):
            yield f"{name}: cannot sound, as AWS tells no {namespace} {metric} by {sorted(dimensions)}"
        for dimension, kind in NAMED.items():
            named = ref(dimensions.get(dimension))
            if dimension in dimensions and resources.get(named, {}).get("Type") != kind:
                yield f"{name}: cannot sound, as its {dimension} names {named or dimensions[dimension]}, which is no {kind}"
        yield from missing_data(name, alarm, told_always=namespace == "Baton" and set(dimensions) == {"Table"})
        yield from spans(name, alarm)
        age_of = ref(dimensions.get("QueueName")) if metric == "ApproximateAgeOfOldestMessage" else ""
        kept = resources.get(age_of, {}).get("Properties", {}).get("MessageRetentionPeriod")
        if is_bounded(kept, 0, alarm["Threshold"] if isinstance(alarm["Threshold"], int) else 600):
            yield f"{name}: cannot sound, as {age_of} keeps no message for longer than {kept} s"
        for actions in ("AlarmActions", "OKActions"):
            if ref(listed(alarm.get(actions))[0]) != "AlarmTopic" and "AlarmTopic" not in json.dumps(alarm.get(actions)):
                yield f"{name}: expected {actions} that tell AlarmTopic, got none"
    yield from wanted_alarms(resources, functions)


def missing_data(name: str, alarm: dict, told_always: bool) -> Iterator[str]:
    rule = alarm.get("TreatMissingData", "missing")
    below = alarm["ComparisonOperator"].startswith("LessThan")
    if below and rule != "breaching":
        yield f"{name}: cannot sound, as it is about silence and takes missing data as {rule}; expected breaching"
    # A count that is told when something happened would keep its alarm for ever; a state that is told always may be kept.
    if not below and rule not in ({"notBreaching", "ignore"} if told_always else {"notBreaching"}):
        yield f"{name}: expected notBreaching for missing data, got {rule}: it would sound, or go on sounding, for no reason"


def spans(name: str, alarm: dict) -> Iterator[str]:
    of, needed, period = (alarm.get(key) for key in ("EvaluationPeriods", "DatapointsToAlarm", "Period"))
    if not is_bounded(needed, 2, of):
        yield f"{name}: expected DatapointsToAlarm from 2, so that no single event pages, to EvaluationPeriods ({of}), got {needed}"
    if period % 60 or of * period > 86_400:
        yield f"{name}: expected a Period of whole minutes and a day at most in all, got {of} times {period} s"


def wanted_alarms(resources: dict, functions: dict[str, str]) -> Iterator[str]:
    """What must have an alarm."""
    there = set()
    for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values():
        dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
        about = ref(dimensions.get("FunctionName") or dimensions.get("QueueName") or dimensions.get("TableName"))
        there.add((alarm["MetricName"], about or dimensions.get("Function", ""), len(dimensions)))
    wanted = {("Throttles", "", 0), ("ConcurrentExecutions", "", 0), ("IteratorAge", "RelayEvents", 1), ("5xx", "", 1)}
    wanted |= {("Errors", logical, 1) for logical in functions}
    # What is told by table alone is told for these. Their names are of two words at least.
    wanted |= {(metric, "", 1) for metric in told_by_functions()[0] if sum(map(str.isupper, metric)) > 1}
    wanted |= {(f"{one}ThrottleEvents", "Table", dimensions) for one in ("Read", "Write") for dimensions in (1, 2)}
    for name in of_type(resources, "AWS::SQS::Queue"):
        if name.endswith("Dead"):
            wanted.add(("ApproximateNumberOfMessagesVisible", name, 1))
        elif name != "Ready":
            wanted.add(("ApproximateAgeOfOldestMessage", name, 1))
    for mapping in of_type(resources, "AWS::Lambda::EventSourceMapping").values():
        # What comes again is no failure to Lambda.
        wanted.add(("Errors", functions[ref(mapping["FunctionName"])], 3))
    for metric, about, _ in sorted(wanted - there):
        yield f"alarms: expected one on {metric} of {about or 'the account'}, got none"


def versions(template: dict) -> Iterator[str]:
    """Callers reach versions by an alias, which goes back to the old one if an alarm sounds; each function has its memory."""
    resources = template["Resources"]
    everywhere = template["Globals"]["Function"]
    if everywhere.get("AutoPublishAlias") != "live" or "Enabled" not in everywhere.get("DeploymentPreference", {}):
        yield "Globals: expected AutoPublishAlias live, and a DeploymentPreference"
    logging = everywhere.get("LoggingConfig", {})
    if logging.get("LogFormat") != "JSON" or ref(logging.get("SystemLogLevel")) != "PlatformLogLevel":
        yield f"Globals: expected the log format JSON, and Lambda's own lines by PlatformLogLevel, got {logging}"
    functions = of_type(resources, "AWS::Serverless::Function")
    for name, function in functions.items():
        if ref(function.get("MemorySize")) != f"{name}Megabytes":
            yield f"{name}: expected a memory size of its own, {name}Megabytes, got {function.get('MemorySize')}"
        if function.get("AutoPublishAliasAllProperties") is not True:
            yield f"{name}: expected AutoPublishAliasAllProperties, as its alias would stay with old settings"
        back = {ref(alarm) for alarm in function.get("DeploymentPreference", {}).get("Alarms", [])}
        if not {f"{name}Fails", "ApiFails"} <= back:
            yield f"{name}: expected {name}Fails and ApiFails to take a new version back, got {sorted(back)}"
        # SAM makes the deployment group without the function's condition otherwise, and it names an alarm that is not there.
        if "Condition" in resources[name] and function.get("DeploymentPreference", {}).get("PassthroughCondition") is not True:
            yield f"{name}: expected PassthroughCondition: true in DeploymentPreference, as it is there by {resources[name]['Condition']} alone"
        if ("ReservedConcurrentExecutions" in function) != (name == "ClaimTask"):
            yield f"{name}: expected concurrency to be reserved for claim-task, whose claims wait, and for nobody else"
    # What calls a function by its name calls the newest version, whatever the alias says.
    for kind, field in (
        ("AWS::ApiGatewayV2::Integration", "IntegrationUri"),
        ("AWS::Lambda::Permission", "FunctionName"),
        ("AWS::Lambda::EventSourceMapping", "FunctionName"),
    ):
        for name, one in of_type(resources, kind).items():
            if one[field] != {"Ref": f"{ref(one[field])}.Alias"}:
                yield f"{name}: expected to call an alias (!Ref FUNCTION.Alias), got {one[field]}"


def looks(template: dict) -> Iterator[str]:
    """Alerts are looked at so often that durations do not begin anew with each look, also if one takes as long as it may."""
    source = (ROOT / "functions" / "manage-alerts" / "src" / "watch.rs").read_text()
    unseen = re.search(r"const ROUNDS: Pace = .*?unseen: Duration::from_secs\((\d+)\)", source)
    schedule = template["Parameters"]["AlertsSchedule"]
    pattern = schedule.get("AllowedPattern", ".*")
    # A look that takes longer than the pause between two has the next call do nothing.
    longest = template["Parameters"]["AlertsTimeoutSeconds"]["MaxValue"]
    for every in range(1, 61):
        text = f"rate({every} minute{'s' if every > 1 else ''})"
        gap = 60 * every * -(-longest // (60 * every))
        if re.fullmatch(pattern, text) and not (unseen and gap < int(unseen.group(1))):
            yield f"AlertsSchedule: expected an AllowedPattern without {text}, after which durations begin anew with each look"
    for text in ("rate(1 hour)", "cron(0 * * * ? *)"):
        if re.fullmatch(pattern, text):
            yield f"AlertsSchedule: expected an AllowedPattern without {text}, after which durations begin anew with each look"
    if not re.fullmatch(pattern, schedule["Default"]):
        yield f"AlertsSchedule: expected an AllowedPattern with its default, {schedule['Default']}, got {pattern}"


def all_of_it(template: dict, functions: dict[str, str]) -> Iterator[str]:
    yield from throttles(template)
    yield from answerless(template)
    yield from queues(template)
    yield from access_log(template)
    yield from alarms(template, functions)
    yield from versions(template)
    yield from looks(template)
