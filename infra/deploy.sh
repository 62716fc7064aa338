#!/usr/bin/env bash
# Deploys, upgrades, rolls back and removes the AWS shape (infra/template.yaml), step by step.
#
#     infra/deploy.sh deploy                  builds, deploys, finishes the table, makes the first token, tries it out
#     infra/deploy.sh upgrade                 the same for a stack that is there, with its parameters as they are
#     infra/deploy.sh rollback REF            deploys what the commit or tag REF has, from a checkout of its own
#     infra/deploy.sh smoke                   sends one task through the stack
#     infra/deploy.sh remove [--with-table]   removes the stack; the table holds the tasks, and stays unless it is named
#
#     --stack NAME            the stack's name (baton)
#     --arch arm64|x86_64     the processor to build for (arm64)
#     --parameter KEY=VALUE   a parameter of the template; may be given again
#     --token-name NAME       the name of the first token (first)
#     --url URL, --store URL  for `smoke` alone: a stack that CloudFormation does not know by this name
#     --dry-run               prints the commands, and runs none
#
# Each command that it runs stands on stderr behind a +. It stops at the first that fails, says what to do, and may be run
# again: what is done stays done. Only a new token goes to stdout, once. Region and credentials are those of AWS's own tools.
# BATON names the program `baton` to use; without it, it is built. Exit codes: 0 done, 1 a step failed, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

stack=baton arch=arm64 token_name=first dry='' with_table='' url='' store='' what='' ref=''
parameters=()

usage() {
  printf 'infra/deploy.sh: %s\n' "$1" >&2
  sed -n '2,/^# Each command/s/^# \{0,1\}//p' infra/deploy.sh | sed '$d' >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry=1 ;;
    --with-table) with_table=1 ;;
    --stack | --arch | --parameter | --token-name | --url | --store)
      [ $# -gt 1 ] || usage "expected a value behind $1"
      case "$1" in
        --stack) stack="$2" ;;
        --arch) arch="$2" ;;
        --parameter) parameters+=("$2") ;;
        --token-name) token_name="$2" ;;
        --url) url="$2" ;;
        --store) store="$2" ;;
      esac
      shift
      ;;
    -*) usage "expected one of the options below, got $1" ;;
    *)
      if [ -z "$what" ]; then
        what="$1"
      elif [ "$what" = rollback ] && [ -z "$ref" ]; then
        ref="$1"
      else
        usage "expected one command, got $1 besides"
      fi
      ;;
  esac
  shift
done
case "$arch" in arm64 | x86_64) ;; *) usage "--arch: expected arm64 or x86_64, got $arch" ;; esac
case "$stack" in '' | *[!A-Za-z0-9-]*) usage "--stack: expected letters, digits and -, got '$stack'" ;; esac

# What to do if the present step fails.
advice=''

step() {
  printf '\n== %s\n' "$1" >&2
  advice="$2"
}

stopped() {
  printf '\n!!! stopped: %s\n!!! what to do: %s\n' "$1" "$advice" >&2
  exit 1
}

say() {
  printf '+' >&2
  printf ' %q' "$@" >&2
  printf '\n' >&2
}

run() {
  say "$@"
  [ -n "$dry" ] || "$@" >&2 || stopped "$1 ended with exit code $?"
}

# Runs a command whose answer is used; without running it, the answer is the first argument.
ask() {
  local instead="$1"
  shift
  say "$@"
  if [ -n "$dry" ]; then
    printf '%s' "$instead"
  else
    "$@"
  fi
}

# The text of a field in a JSON document that `baton -o json` has printed, one field a line.
field() {
  sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" | head -n 1
}

tools() {
  step 'tools' 'install what is missing: rustup.rs, cargo-lambda.info, the SAM and the AWS command line; and set credentials'
  for tool in "$@"; do
    [ -n "$dry" ] || command -v "$tool" >/dev/null || stopped "there is no $tool"
  done
  run aws sts get-caller-identity
}

# The folders of these programs of functions.
programs() {
  local source
  for source in "$@"; do
    echo "${source%/src/main.rs}"
  done
}

# Builds these functions of a checkout: one command for all, so that what they share is built once.
build() {
  local tree="$1" function features='' packages=()
  shift
  step "build the functions for $arch" 'mend what the compiler says, and run this again'
  for function in "$@"; do
    function="baton-$(basename "$function")"
    packages+=(--package "$function")
    features+="${features:+,}$function/lambda"
  done
  local processor=(--arm64)
  [ "$arch" = arm64 ] || processor=(--x86-64)
  run env -C "$tree" -u CARGO_TARGET_DIR cargo lambda build --locked --profile function "${processor[@]}" \
    --output-format zip "${packages[@]}" --features "$features"
}

program() {
  if [ -n "${BATON:-}" ]; then
    baton="$BATON"
    return
  fi
  step 'build baton, for the table and the tokens' 'mend what the compiler says, or name one by BATON, and run this again'
  run env -u CARGO_TARGET_DIR cargo build --locked --release --package baton --features dynamodb,sqs
  baton=target/release/baton
}

sam_deploy() {
  local template="$1" overrides=("Architecture=$arch" "${parameters[@]+"${parameters[@]}"}")
  step "deploy the stack $stack" "see the stack's events in CloudFormation; it has gone back by itself to what it was. A table $stack-tasks that a former stack has left must be removed before a new one is made (infra/deploy.sh remove --with-table)"
  run sam deploy --template-file "$template" --stack-name "$stack" --resolve-s3 --capabilities CAPABILITY_IAM \
    --no-confirm-changeset --no-fail-on-empty-changeset --parameter-overrides "${overrides[@]}"
}

table() {
  step 'finish the table' 'see above; this step may be repeated at any time'
  run "$baton" table create --store "$store" --statistics stream
  run "$baton" table check --store "$store"
}

outputs() {
  step 'where the stack is' "look whether there is a stack $stack in this account and region"
  output() {
    ask "<$1 of $stack>" aws cloudformation describe-stacks --stack-name "$stack" --output text \
      --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
  }
  [ -n "$url" ] || url="$(output Url)" || stopped 'the stack has no output Url'
  [ -n "$store" ] || store="$(output Store)" || stopped 'the stack has no output Store'
}

# A token for what follows, which ends by itself.
enter() {
  local made
  step 'a token for a quarter of an hour' "see whether the table $store can be reached: $baton table check --store $store"
  made="$(ask '' "$baton" token create --store "$store" --name deploy --scope operator --expires 15m -o json)" \
    || stopped 'no token could be made'
  export BATON_URL="$url" BATON_TOKEN
  BATON_TOKEN="$(field secret <<<"$made")"
}

first_token() {
  local tokens
  step 'the first token' 'see above; without it nobody can ask the API'
  tokens="$(ask '' "$baton" token list -o json)" || stopped 'the tokens could not be listed'
  if grep -q "^ *\"name\": \"$token_name\"" <<<"$tokens"; then
    printf 'there is a token %s already\n' "$token_name" >&2
    return
  fi
  say "$baton" token create --store "$store" --name "$token_name" --scope operator
  [ -n "$dry" ] || "$baton" token create --store "$store" --name "$token_name" --scope operator \
    || stopped 'the token could not be made'
}

smoke() {
  local queue created id worker ended=0
  queue="smoke-test-$$"
  [ -z "$dry" ] || queue=smoke-test
  step 'smoke test: a task is created, claimed, run and completed' "the logs of create-task, claim-task and complete-task say why; $baton task list --queue $queue shows the task"
  created="$(ask '  "id": "ID",' "$baton" task create --type smoke --queue "$queue" -o json)" \
    || stopped 'no task could be created'
  id="$(field id <<<"$created")"
  say "$baton" worker run --id "$queue" --queue "$queue" -- true
  say "$baton" task watch --timeout 2m "$id"
  [ -z "$dry" ] || return 0
  "$baton" worker run --id "$queue" --queue "$queue" -- true >&2 &
  worker=$!
  "$baton" task watch --timeout 2m "$id" >&2 || ended=$?
  kill -TERM "$worker" 2>/dev/null || true
  wait "$worker" || true
  [ "$ended" -eq 0 ] || stopped "the task $id was not completed within 120 s (exit code $ended)"
  printf 'the task %s went its way\n' "$id" >&2
}

case "$what" in
  deploy | upgrade)
    tools cargo cargo-lambda sam aws
    if [ "$what" = upgrade ]; then
      step 'the stack as it is' "look whether there is a stack $stack in this account and region; infra/deploy.sh deploy makes one"
      run aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text
    fi
    # A folder without a program is no function: it is served by baton alone.
    # shellcheck disable=SC2046  # names without blanks
    build . $(programs functions/*/src/main.rs)
    program
    sam_deploy infra/template.yaml
    outputs
    table
    enter
    if [ "$what" = deploy ]; then
      first_token
    fi
    smoke
    printf '\n%s is deployed: export BATON_URL=%s\n' "$stack" "$url" >&2
    ;;
  rollback)
    [ -n "$ref" ] || usage 'rollback: expected the commit or tag to go back to, got none'
    tools cargo cargo-lambda sam aws git
    program
    tree="target/rollback/$stack"
    step "a checkout of $ref" "name a commit or a tag of this repository; git worktree remove --force $tree removes a checkout that was left"
    functions="$(git ls-tree -r --name-only "$ref" functions)" || stopped "there is no $ref with functions"
    # shellcheck disable=SC2046  # names without blanks
    functions="$(programs $(grep '/src/main\.rs$' <<< "$functions"))"
    run git worktree add --force --detach "$tree" "$ref"
    # shellcheck disable=SC2086  # names without blanks
    build "$tree" $functions
    sam_deploy "$tree/infra/template.yaml"
    run git worktree remove --force "$tree"
    outputs
    enter
    smoke
    ;;
  smoke)
    program
    outputs
    enter
    smoke
    ;;
  remove)
    tools sam aws
    step "remove the stack $stack" "see the stack's events in CloudFormation"
    run sam delete --stack-name "$stack" --no-prompts
    if [ -n "$with_table" ]; then
      step "remove the table $stack-tasks, with all tasks" 'see above; the stack is gone already'
      run aws dynamodb update-table --table-name "$stack-tasks" --no-deletion-protection-enabled
      run aws dynamodb wait table-exists --table-name "$stack-tasks"
      run aws dynamodb delete-table --table-name "$stack-tasks"
    else
      printf 'the table %s-tasks is left, with all tasks; --with-table removes it for good\n' "$stack" >&2
    fi
    ;;
  '') usage 'expected a command, got none' ;;
  *) usage "expected deploy, upgrade, rollback, smoke or remove, got $what" ;;
esac
