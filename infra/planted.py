"""Plants mistakes into copies of infra/template.yaml, one each, and holds infra/check.py to finding every one by its name.

    python infra/planted.py

A check that finds nothing may be right, or blind: this tells the two apart. Whoever adds a check adds its mistake here. A
mistake is a text of the template and what it becomes; the text must be there, so that no mistake goes stale unseen.
"""

import sys
import tempfile
from pathlib import Path

from cfnlint.decode import cfn_yaml

import check

# What is planted: the text, what it becomes, and words of the fault that must be found.
MISTAKES: dict[str, tuple[str, str, str]] = {
    "an archive that functions do not know of": (
        '        BATON_ARCHIVE_URL: !If [Archived, !Sub "s3://${ArchiveBucket}", ""]\n',
        "",
        "Globals: expected BATON_ARCHIVE_URL to name ArchiveBucket",
    ),
    "an archive out of which tasks go by themselves": (
        "# of uploads that were cut off; tasks stay\n          - {Status: Enabled, ",
        "# of uploads that were cut off; tasks stay\n          - {Status: Enabled, ExpirationInDays: 90, ",
        "ArchiveBucket: expected no rule by which tasks go",
    ),
    "a reaper that may not archive": (
        '[s3:AbortMultipartUpload, s3:DeleteObject, s3:GetObject, s3:PutObject]\n            Resource: !Sub "${ArchiveBucket.Arn}/*"',
        '[s3:AbortMultipartUpload, s3:GetObject, s3:PutObject]\n            Resource: !Sub "${ArchiveBucket.Arn}/*"',
        "permissions of reap-stale-workers: the programs have ('s3:DeleteObject', 'ArchiveBucket')",
    ),
    "a completion that may touch all of the bucket of files": (
        'Action: s3:PutObject\n            Resource:\n              - !Sub "${FilesBucket.Arn}/bytes/*"\n              - !Sub "${FilesBucket.Arn}/names/*"\n',
        'Action: s3:PutObject\n            Resource: !Sub "${FilesBucket.Arn}/*"\n',
        "keys of complete-task: the programs have ('s3:PutObject', 'FilesBucket', 'bytes/*')",
    ),
    "a completion that may read the key of files": (
        'Action: s3:GetObject\n            Resource:\n              - !Sub "${FilesBucket.Arn}/bytes/*"\n',
        'Action: s3:GetObject\n            Resource:\n              - !Sub "${FilesBucket.Arn}/key"\n              - !Sub "${FilesBucket.Arn}/bytes/*"\n',
        "keys of complete-task: the template has ('s3:GetObject', 'FilesBucket', 'key')",
    ),
    "an archive that fails unheard": (
        "      MetricName: ArchiveFailures\n",
        "      MetricName: SchedulesMissed\n",
        "alarms: expected one on ArchiveFailures",
    ),
    "a route of alerts that nobody serves": (
        "      RouteKey: POST /v1/webhooks/{webhook}/test\n",
        "      RouteKey: POST /v1/webhooks/{webhook}/try\n",
        "routes: the programs have ('POST /v1/webhooks/{webhook}/test', 'manage-alerts')",
    ),
    "a route without a throttle of its own": (
        "        GET /readyz: {ThrottlingRateLimit: !Ref OpenRequestsPerSecond, ThrottlingBurstLimit: !Ref OpenRequestBurst}\n",
        "",
        "ReadyzRoute: expected a throttle of its own for GET /readyz",
    ),
    "an open route with the throttle of all": (
        "GET /livez: {ThrottlingRateLimit: !Ref OpenRequestsPerSecond, ThrottlingBurstLimit: !Ref OpenRequestBurst}",
        "GET /livez: {ThrottlingRateLimit: !Ref RequestsPerSecond, ThrottlingBurstLimit: !Ref RequestBurst}",
        "LivezRoute: expected a throttle of its own for GET /livez",
    ),
    "no throttle at all": (
        "        ThrottlingRateLimit: !Ref RequestsPerSecond\n",
        "",
        "ApiStage: expected ThrottlingRateLimit in DefaultRouteSettings",
    ),
    "a route without its authorizer": (
        "      RouteKey: GET /v1/tasks\n      Target: !Sub \"integrations/${QueryTasksIntegration}\"\n      AuthorizationType: CUSTOM\n",
        "      RouteKey: GET /v1/tasks\n      Target: !Sub \"integrations/${QueryTasksIntegration}\"\n",
        "ListTasksRoute: expected the authorizer for GET /v1/tasks",
    ),
    "an authorizer that the dialect's clients cannot pass": (
        '      RouteKey: ANY /rest/v1/{proxy+}\n',
        '      RouteKey: ANY /rest/v1/{proxy+}\n      AuthorizationType: CUSTOM\n',
        "EdgeRestRoute: expected no authorizer",
    ),
    "a family of the dialect's routes that nobody serves": (
        "      RouteKey: ANY /storage/v1/{proxy+}\n",
        "      RouteKey: ANY /stores/v1/{proxy+}\n",
        "routes of EdgeApi: the programs have ('ANY /storage/v1/{proxy+}', 'edge-functions')",
    ),
    "no throttle of the dialect's API": (
        "        ThrottlingBurstLimit: !Ref EdgeRequestBurst\n",
        "",
        "EdgeApiStage: expected ThrottlingBurstLimit in DefaultRouteSettings",
    ),
    "a role that may do one thing more": (
        "                Action: dynamodb:GetItem\n",
        "                Action: [dynamodb:GetItem, dynamodb:DeleteItem]\n",
        "permissions of authorize: the template has ('dynamodb:DeleteItem', 'Table')",
    ),
    "a role that may touch one kind of items more": (
        '                    dynamodb:LeadingKeys: ["DO#webhook-standing", "DO#waiting/*", "E#*", M, "N#*", "P#*", "Q#*", "S#*", "T#*", "X#*"]\n',
        '                    dynamodb:LeadingKeys: [M, "N#*", "Q#*", "S#*", "T#*", "W#*", "X#*"]\n',
        "keys of relay-events: the template has ('write', 'Table', 'W#*')",
    ),
    "a role that may read one kind of the index more": (
        '                    dynamodb:LeadingKeys: ["B#*", "F3#*", "F4#*", "R#*", "W#*"]\n',
        '                    dynamodb:LeadingKeys: ["B#*", "F3#*", "F4#*", "R#*", "W#*", "K#*"]\n',
        "keys of query-tasks: the template has ('read', 'Table/index', 'K#*')",
    ),
    "a role that may change all of a token": (
        "dynamodb:Attributes: [pk, sk, lu]  # of",
        "dynamodb:Attributes: [pk, sk, lu, dg]  # of",
        "keys of authorize: the template has ('write', 'Table', 'K#* (dg)')",
    ),
    "a role that may touch all items": (
        '                Condition:\n                  ForAllValues:StringLike:\n                    dynamodb:LeadingKeys: ["DO#webhook-standing", "DO#waiting/*", "E#*", M, "N#*", "P#*", "Q#*", "S#*", "T#*", "X#*"]\n',
        "",
        "RelayEvents: expected dynamodb:PutItem, dynamodb:UpdateItem to be bound to dynamodb:LeadingKeys",
    ),
    "a role that may not do what its function does": (
        "                Action: [sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility, sqs:SendMessage]\n",
        "                Action: [sqs:ReceiveMessage, sqs:DeleteMessage, sqs:SendMessage]\n",
        "permissions of claim-task: the programs have ('sqs:ChangeMessageVisibility', 'Ready')",
    ),
    "a schedule whose calls vanish when they fail": (
        "        DestinationConfig:\n          OnFailure: {Type: SQS, Destination: !GetAtt ReaperDead.Arn}\n",
        "",
        "ReapStaleWorkers: expected a dead-letter queue for calls of ReaperTick",
    ),
    "a schedule whose calls vanish on their way": (
        "        DeadLetterConfig:\n          Arn: !GetAtt ReaperDead.Arn\n",
        "",
        "ReaperTick: expected a dead-letter queue for calls that do not arrive",
    ),
    "a schedule whose calls pile up": (
        "        MaximumEventAgeInSeconds: 60\n        MaximumRetryAttempts: 0\n        DestinationConfig",
        "        DestinationConfig",
        "ReapStaleWorkers: expected no retries of the schedule's calls",
    ),
    "a stream whose records vanish": (
        "      DestinationConfig:\n        OnFailure:\n",
        "      DestinationConfig:\n        OnSuccess:\n",
        "StreamToRelayEvents: expected a bucket as the destination of records that fail for good",
    ),
    "a stream of whose records only the place is kept": (
        "          Destination: !GetAtt RelayAside.Arn\n",
        "          Destination: !GetAtt RelayDead.Arn\n",
        "StreamToRelayEvents: expected a bucket as the destination of records that fail for good (OnFailure), got RelayDead",
    ),
    "a stream that gives up after some tries": (
        "      MaximumRetryAttempts: -1\n",
        "      MaximumRetryAttempts: 100\n",
        "StreamToRelayEvents: expected records to be bounded by age, got 100 tries",
    ),
    "a stream that forgets before it puts aside": (
        "      MaximumRecordAgeInSeconds: 82800\n",
        "",
        "StreamToRelayEvents: expected a MaximumRecordAgeInSeconds of 12 to 23 hours",
    ),
    "a queue without a dead-letter queue": (
        "      RedrivePolicy: {deadLetterTargetArn: !GetAtt SubmissionsDead.Arn, maxReceiveCount: 10}\n",
        "",
        "Submissions: expected SubmissionsDead as its dead-letter queue",
    ),
    "a queue that hides what a killed function had": (
        "      VisibilityTimeout: 90  # as above\n",
        "      VisibilityTimeout: 180\n",
        "Completions: expected a VisibilityTimeout from its function's time limit, 30 s, to 90 s, got 180",
    ),
    "a queue that can be spoken to in the clear": (
        'Resource: !GetAtt CompletionsDead.Arn, Condition: {Bool: {aws:SecureTransport: "false"}}',
        'Resource: !GetAtt CompletionsDead.Arn, Condition: {Bool: {aws:SecureTransport: "true"}}',
        "CompletionsDead: expected a policy that denies whoever speaks to it without TLS",
    ),
    "an alarm on a metric that no function tells": (
        "      MetricName: OldestReadySeconds\n",
        "      MetricName: OldestQueuedSeconds\n",
        "TasksWaitTooLong: cannot sound, as no function tells OldestQueuedSeconds",
    ),
    "an alarm on a metric that AWS does not tell": (
        "      MetricName: 5xx\n      Dimensions: [{Name: ApiId, Value: !Ref Api}]\n",
        "      MetricName: 5XXError\n      Dimensions: [{Name: ApiId, Value: !Ref Api}]\n",
        "ApiFails: cannot sound, as AWS tells no AWS/ApiGateway 5XXError",
    ),
    "an alarm that lacks a dimension": (
        "      Dimensions: [{Name: Table, Value: !Ref Table}, {Name: Function, Value: create-task}, {Name: Route, Value: queue}]\n",
        "      Dimensions: [{Name: Function, Value: create-task}, {Name: Route, Value: queue}]\n",
        "SubmissionsComeAgain: cannot sound, as no function tells Errors by ['Function', 'Route']",
    ),
    "an alarm on a function of another name": (
        "{Name: Function, Value: complete-task}",
        "{Name: Function, Value: complete-tasks}",
        "CompletionsComeAgain: cannot sound, as there is no function complete-tasks",
    ),
    "an alarm on a dimension that names another thing": (
        "      Dimensions: [{Name: QueueName, Value: !GetAtt RelayDead.QueueName}]\n",
        "      Dimensions: [{Name: QueueName, Value: !Ref Table}]\n",
        "RelayDeadNotEmpty: cannot sound, as its QueueName names Table",
    ),
    "an alarm about silence that silence does not sound": (
        "      TreatMissingData: breaching\n",
        "      TreatMissingData: notBreaching\n",
        "ReaperSilent: cannot sound, as it is about silence and takes missing data as notBreaching",
    ),
    "an alarm on messages that are gone before": (
        "      QueueName: !Sub \"${AWS::StackName}-completions\"\n      MessageRetentionPeriod: !Ref MessageSeconds\n",
        "      QueueName: !Sub \"${AWS::StackName}-completions\"\n      MessageRetentionPeriod: 300\n",
        "CompletionsLate: cannot sound, as Completions keeps no message for longer than 300 s",
    ),
    "a function without an alarm": (
        "      MetricName: Errors\n      Dimensions: [{Name: FunctionName, Value: !Ref Authorize}]\n",
        "      MetricName: Throttles\n      Dimensions: [{Name: FunctionName, Value: !Ref Authorize}]\n",
        "alarms: expected one on Errors of Authorize, got none",
    ),
    "nobody who hears that nothing is removed": (
        "      MetricName: OldestOverdueSeconds\n",
        "      MetricName: OldestReadySeconds\n",
        "alarms: expected one on OldestOverdueSeconds of the account, got none",
    ),
    "an alarm that pages for a single event": (
        "      EvaluationPeriods: 3\n      DatapointsToAlarm: 2\n      Threshold: !Ref LostWorkers\n",
        "      EvaluationPeriods: 3\n      DatapointsToAlarm: 1\n      Threshold: !Ref LostWorkers\n",
        "WorkersLost: expected DatapointsToAlarm from 2, so that no single event pages",
    ),
    "an alarm that never tells of its end": (
        "      Threshold: !Ref LostWorkers\n      ComparisonOperator: GreaterThanOrEqualToThreshold\n      TreatMissingData: notBreaching\n"
        "      AlarmActions: [!Ref AlarmTopic]\n      OKActions: [!Ref AlarmTopic]\n",
        "      Threshold: !Ref LostWorkers\n      ComparisonOperator: GreaterThanOrEqualToThreshold\n      TreatMissingData: notBreaching\n"
        "      AlarmActions: [!Ref AlarmTopic]\n",
        "WorkersLost: expected OKActions that tell AlarmTopic, got none",
    ),
    "an access log that a quote breaks": (
        '"tok":"$context.authorizer.token_id","rt"',
        '"tok":"$context.authorizer.token_id","why":"$context.error.message","rt"',
        "ApiStage: the access log has $context.error.message, which may hold a quote",
    ),
    "an access log that is no JSON without an error": (
        '"tok":"$context.authorizer.token_id","rt"',
        '"tok":$context.authorizer.token_id,"rt"',
        "ApiStage: expected lines of the access log to be JSON",
    ),
    "a function whose callers go past its alias": (
        "      EventSourceArn: !GetAtt Completions.Arn\n      FunctionName: !Ref CompleteTask.Alias\n",
        "      EventSourceArn: !GetAtt Completions.Arn\n      FunctionName: !Ref CompleteTask\n",
        "CompletionsToCompleteTask: expected to call an alias",
    ),
    "a function by a condition whose deployment is there without it": (
        "        Alarms: [!Ref ManageAlertsFails, !Ref ApiFails]\n        PassthroughCondition: true\n",
        "        Alarms: [!Ref ManageAlertsFails, !Ref ApiFails]\n",
        "ManageAlerts: expected PassthroughCondition: true in DeploymentPreference",
    ),
    "alerts that are looked at too seldom for any patience": (
        "    AllowedPattern: rate\\((1 minute|2 minutes)\\)\n",
        "    AllowedPattern: rate\\((1 minute|[2-9] minutes)\\)\n",
        "AlertsSchedule: expected an AllowedPattern without rate(4 minutes)",
    ),
    "a function that no alarm takes back": (
        "        Alarms: [!Ref ClaimTaskFails, !Ref ApiFails]\n",
        "        Alarms: [!Ref ApiFails]\n",
        "ClaimTask: expected ClaimTaskFails and ApiFails to take a new version back",
    ),
    "a table without a ceiling": (
        "          OnDemandThroughput: !If\n",
        "          WarmThroughput: !If\n",
        "expected ceilings of what it uses on demand, also of its index",
    ),
    "an address of files that asks for a token": (
        '      RouteKey: GET /v1/signed-files/{project}/{path+}\n',
        '      RouteKey: GET /v1/signed-files/{project}/{path+}\n      AuthorizationType: CUSTOM\n      AuthorizerId: !Ref TokenAuthorizer\n',
        "GetSignedFileRoute: expected no authorizer for GET /v1/signed-files/{project}/{path+}",
    ),
    "a route of files that nobody serves": (
        "      RouteKey: DELETE /v1/files/{project}/{path+}\n",
        "      RouteKey: DELETE /v1/files/{project}/{name+}\n",
        "routes: the programs have ('DELETE /v1/files/{project}/{path+}', 'manage-files')",
    ),
    "files that expire": (
        "Prefix: uploads/, ExpirationInDays: 7}",
        "ExpirationInDays: 7}",
        "FilesBucket: expected nothing to expire but what lies under uploads/",
    ),
    "files that can be spoken to in the clear": (
        'Resource: [!GetAtt FilesBucket.Arn, !Sub "${FilesBucket.Arn}/*"]\n            Condition: {Bool: {aws:SecureTransport: "false"}}',
        'Resource: [!GetAtt FilesBucket.Arn, !Sub "${FilesBucket.Arn}/*"]\n            Condition: {Bool: {aws:SecureTransport: "true"}}',
        "FilesBucket: expected a policy that denies whoever speaks to it without TLS",
    ),
    "a function that may keep files and knows no place for them": (
        '          BATON_QUEUES_COMPLETIONS_DEAD: !Ref CompletionsDead\n          BATON_FILES_URL: !Sub "s3://${FilesBucket}"\n',
        '          BATON_QUEUES_COMPLETIONS_DEAD: !Ref CompletionsDead\n',
        "CompleteTask: expected BATON_FILES_URL for those that use files",
    ),
    "a setting that no function has": (
        "        BATON_LEASES_WORKER_CAP: !Ref WorkerCap\n",
        "        BATON_LEASES_WORKERS_CAP: !Ref WorkerCap\n",
        "settings: BATON_LEASES_WORKERS_CAP is no setting",
    ),
}


def faults(template: str) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as copy:
        copy.write(template)
        copy.flush()
        return check.check(cfn_yaml.load(copy.name))


def main() -> int:
    template = check.TEMPLATE.read_text()
    missed = [f"expected no fault in the template as it is, got: {fault}" for fault in faults(template)]
    for mistake, (text, becomes, wanted) in MISTAKES.items():
        if template.count(text) != 1:
            missed.append(f"{mistake}: expected the text once in the template, got it {template.count(text)} times: {text!r}")
            continue
        try:
            got = faults(template.replace(text, becomes))
        except Exception as error:  # a check that falls over names no mistake
            missed.append(f"{mistake}: expected a fault that says {wanted!r}, got {error!r}")
            continue
        if not any(wanted in fault for fault in got):
            missed.append(f"{mistake}: expected a fault that says {wanted!r}, got {got}")
    for one in missed:
        print(f"infra/planted.py: {one}", file=sys.stderr)
    if not missed:
        print(f"infra/check.py finds each of {len(MISTAKES)} mistakes")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
