//! The rules of a store, as tests over [`Store`](crate::Store).
//!
//! Every rule is one function here, named after the behaviour that it states. A store runs all of them, each in an
//! empty store of its own, with a few lines in its `tests/conformance.rs`:
//!
//! ```ignore
//! struct Disk(tempfile::TempDir);
//!
//! #[async_trait::async_trait]
//! impl baton_store::conformance::World for Disk { /* open */ }
//!
//! baton_store::conformance_tests!(Disk(tempfile::tempdir().unwrap()));
//! ```
//!
//! There is one list of rules, in this module: the macro and [`RULES`] are made of it, and a test holds it against the
//! functions. A rule is skipped only where the store's [`Capabilities`](crate::Capabilities) say that it does not
//! promise it. Time and ids are handed in, so that nothing here sleeps or reads a clock; the two time limits there are
//! only end the test of a store that would hang.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code that lies in a library"
)]

pub mod alone;
pub mod audit;
pub mod choice;
pub mod claim;
pub mod clocks;
pub mod complete;
pub mod concurrent;
pub mod create;
pub mod dependencies;
pub mod doorbell;
pub mod durability;
pub mod expiry;
pub mod fail;
pub mod heartbeat;
pub mod history;
mod invariants;
mod kit;
pub mod limits;
pub mod losses;
pub mod operate;
mod oracle;
pub mod places;
pub mod purge;
pub mod query;
pub mod random;
pub mod reap;
pub mod release;
pub mod requests;
pub mod schedule;
pub mod sessions;
mod split_mix;
pub mod statistics;
pub mod token;
pub mod transfer;
pub mod unique;
mod words;

pub use invariants::check_invariants;
pub use kit::{Bench, Movable, World};
pub use oracle::Oracle;

/// Takes the list of rules and makes of it [`RULES`] and the macro that a store's tests are made by. The first token
/// stands for the dollar of the inner macro.
macro_rules! rules {
    ($d:tt $($module:ident: [$($rule:ident),* $(,)?],)*) => {
        /// Every rule, as `module::rule`.
        pub const RULES: &[&str] = &[$($(concat!(stringify!($module), "::", stringify!($rule))),*),*];

        /// Makes one test of each rule, by modules, and one of histories under faults. The expression makes a new
        /// `World` for each and may await; the calling crate needs tokio with its macros and multi-threaded runtime.
        #[macro_export]
        macro_rules! conformance_tests {
            ($d world:expr) => {
                $(
                    mod $module {
                        #[allow(unused_imports, reason = "what the expression names")]
                        use super::*;

                        $(
                            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                            async fn $rule() {
                                let bench = $d crate::conformance::Bench::open($d world).await;
                                $d crate::conformance::$module::$rule(bench).await;
                            }
                        )*
                    }
                )*

                mod faults {
                    #[allow(unused_imports, reason = "what the expression names")]
                    use super::*;

                    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn nothing_is_lost_over_a_store_that_fails() {
                        for seed in $d crate::conformance::history::seeds(5) {
                            $d crate::conformance::history::over_faults($d world, seed).await;
                        }
                    }
                }
            };
        }

        /// Hands the names of a module's rules to a macro, for a test that runs them in another way:
        /// `rules_of!(transfer => run)` is `run!` of them.
        #[macro_export]
        macro_rules! rules_of {
            $(
                ($module => $d run:ident) => {
                    $d run!($($rule),*);
                };
            )*
        }
    };
}

rules! {
    $
    create: [
        a_task_is_stored_as_asked_with_its_first_event,
        a_task_without_backoff_has_the_default,
        params_come_back_byte_for_byte,
        a_batch_is_answered_task_by_task_in_order,
        equal_tasks_without_chosen_ids_are_distinct,
        a_chosen_id_again_with_the_same_content_is_the_same_task,
        reordered_json_keys_are_the_same_content,
        numbers_are_compared_to_their_last_digit,
        a_chosen_id_with_other_content_is_refused_alone,
        an_atomic_batch_with_a_refusal_creates_nothing,
        an_atomic_batch_takes_what_exists_with_the_same_content,
        a_chosen_id_twice_in_one_batch_is_one_task,
        a_chosen_id_with_two_contents_in_one_batch_conflicts,
        a_creation_sent_again_leaves_a_task_that_moved_on,
        an_idempotency_key_gives_its_first_answer_again,
        an_idempotency_key_for_another_request_is_refused,
        an_idempotent_answer_outlives_its_tasks,
        an_idempotency_key_is_kept_for_its_time,
    ],
    schedule: [
        a_task_for_later_is_not_given_out,
        a_task_becomes_claimable_by_the_clock_alone,
        a_delay_counts_from_creation,
        a_task_for_the_past_is_ready,
        a_clock_that_was_set_back_delays_no_task,
        the_status_of_a_queued_task_follows_the_clock,
    ],
    claim: [
        a_claimed_task_runs_under_its_lease,
        a_claim_with_a_fixed_lease_has_an_end,
        a_higher_priority_is_claimed_first,
        within_a_priority_the_first_due_is_claimed_first,
        among_equals_the_lowest_id_is_claimed_first,
        the_order_holds_across_queues,
        only_the_named_queues_are_claimed_from,
        only_the_named_types_are_claimed,
        a_rare_type_is_found_behind_many_others,
        a_claim_for_a_project_gets_its_tasks_only,
        the_default_project_can_be_claimed_for,
        the_order_holds_within_a_project,
        a_rare_project_is_found_behind_many_others,
        what_waits_of_other_projects_is_not_told,
        a_claim_gets_no_more_than_it_asks_for,
        a_claim_may_get_a_hundred,
        a_claimed_task_is_given_to_nobody_else,
        the_cap_holds_over_all_claims_of_a_worker,
        the_cap_counts_the_tasks_of_all_queues,
        a_cap_concerns_one_worker,
        every_end_of_an_attempt_makes_room,
        the_stated_capacity_is_shown_and_decides_nothing,
        no_queued_task_is_said,
        the_next_due_time_is_said,
        a_paused_queue_gives_nothing_until_resumed,
        one_paused_queue_does_not_stop_the_others,
        a_paused_queue_takes_completions_and_tasks,
        a_directed_worker_is_given_nothing,
        an_empty_claim_changes_nothing,
    ],
    choice: [
        a_choice_is_found_whatever_waits_before_it,
        many_types_are_claimed_in_the_order_of_all,
        what_waits_again_is_found_by_its_type_and_project,
        claims_of_all_and_by_choice_share_a_queue,
        a_task_given_out_alone_is_found_by_its_type,
        a_paused_queue_keeps_back_what_is_chosen,
    ],
    requests: [
        a_claim_repeated_with_its_key_gets_the_same_leases,
        a_repeated_claim_is_not_filled_up,
        a_repeated_claim_gets_only_what_still_holds,
        a_spent_request_gets_nothing,
        a_repeated_claim_for_a_project_gets_its_tasks_only,
        a_request_key_belongs_to_its_worker,
        nothing_stands_between_a_repeated_claim_and_its_leases,
        a_request_that_found_nothing_is_not_spent,
        claims_without_key_are_separate,
        a_request_key_is_kept_for_fifteen_minutes,
    ],
    sessions: [
        a_new_session_ends_the_leases_of_the_old,
        a_superseded_session_may_not_claim,
        a_superseded_session_may_not_beat,
        sessions_do_not_flip_flop,
        sixteen_superseded_sessions_are_remembered,
        a_session_belongs_to_its_worker,
        the_same_session_again_is_no_new_start,
        a_lease_without_session_outlives_sessions,
        a_new_session_begins_with_run,
        a_superseded_session_may_complete_before_the_reaper,
        a_name_belongs_to_the_project_that_used_it_first,
        a_name_of_no_project_refuses_callers_with_one,
        a_caller_without_project_may_use_every_name,
        a_name_of_queues_is_for_callers_of_just_these,
        names_of_others_are_refused_to_callers_of_queues,
        a_caller_of_another_project_changes_nothing,
        a_next_claim_for_another_project_does_not_undo_the_completion,
        the_name_of_a_removed_worker_is_free,
        a_name_used_at_once_goes_to_one_project,
    ],
    complete: [
        a_completion_writes_its_generation,
        an_empty_output_is_taken,
        a_completed_task_shows_no_error,
        the_same_completion_again_answers_as_the_first,
        the_same_output_in_another_spelling_is_the_same,
        an_output_of_another_number_is_refused,
        another_output_is_refused,
        another_worker_may_not_complete,
        an_old_attempt_of_the_same_worker_is_refused,
        an_attempt_never_begun_is_refused,
        an_ended_attempt_cannot_be_completed,
        an_unknown_task_is_not_found,
        a_completion_can_claim_the_next_task,
        a_next_claim_that_finds_nothing_says_why,
        a_refused_completion_claims_nothing,
        a_failed_next_claim_does_not_undo_the_completion,
        a_repeated_completion_repeats_its_claim,
        a_completed_attempt_cannot_be_failed_or_released,
    ],
    fail: [
        a_failed_attempt_waits_for_its_backoff,
        the_backoff_grows_with_the_attempts,
        retry_after_takes_the_place_of_the_backoff,
        a_task_fails_when_its_attempts_are_used_up,
        a_failure_that_is_not_retryable_is_final,
        a_failure_is_shown_and_kept,
        a_repeated_failure_changes_nothing,
        a_late_failure_is_refused,
        another_worker_may_not_fail,
    ],
    release: [
        a_released_attempt_does_not_count_but_its_number_is_spent,
        a_released_task_rests_for_its_delay,
        a_repeated_release_changes_nothing,
        only_ones_own_running_attempt_can_be_released,
    ],
    heartbeat: [
        a_beating_worker_keeps_its_leases,
        a_heartbeat_is_told_what_became_of_lost_attempts,
        a_lease_is_told_lost_only_once_it_was_taken_back,
        a_heartbeat_changes_no_task,
        a_heartbeat_is_told_the_directive,
        an_unknown_worker_is_not_found,
        progress_is_shown_while_the_attempt_runs,
        readings_and_labels_are_the_latest,
        a_worker_shows_its_leases,
        a_worker_counts_more_leases_than_it_lists,
        a_worker_that_says_that_it_ends_is_gone,
        whoever_is_heard_of_again_is_not_gone,
        a_worker_that_is_gone_leaves_its_tasks_to_the_reaper,
        log_lines_come_back_the_latest_received_first,
        a_line_is_where_it_was_received_whatever_its_date,
        log_lines_are_filtered,
        five_hundred_log_lines_are_taken,
    ],
    reap: [
        a_silent_worker_loses_its_tasks,
        a_worker_that_never_beats_loses_its_tasks,
        a_fresh_claim_of_a_long_silent_worker_holds,
        a_fixed_lease_is_lost_when_it_runs_out,
        a_fixed_lease_ignores_heartbeats,
        a_task_past_its_timeout_is_taken_from_a_lively_worker,
        a_timeout_ends_a_fixed_lease,
        a_timeout_counts_from_each_claim,
        a_forgotten_task_is_taken_back,
        listing_an_old_attempt_does_not_keep_the_new_one,
        a_fresh_claim_is_not_forgotten,
        a_heartbeat_without_list_forgets_nothing,
        live_leases_are_left_alone,
        the_limit_is_kept_and_the_rest_comes_later,
        a_lost_lease_is_found_behind_many_live_ones,
        reaping_can_be_narrowed,
        a_reaped_attempt_counts_and_its_task_is_ready_at_once,
        a_task_that_is_lost_too_often_fails_with_the_reason,
        a_completion_before_the_reaper_counts,
        a_reaped_attempt_is_over,
        a_task_of_a_worker_long_gone_is_taken_back,
    ],
    clocks: [
        work_goes_on_while_the_clock_is_set_by_half_a_minute,
        work_goes_on_while_the_clock_is_set_back_by_half_a_minute,
        work_goes_on_while_the_clock_is_set_by_an_hour,
        work_goes_on_while_the_clock_is_set_back_by_an_hour,
        work_goes_on_while_the_clock_is_set_by_ten_years,
        work_goes_on_while_the_clock_is_set_back_by_ten_years,
        work_goes_on_while_the_clock_is_wrong_for_a_moment,
        timeouts_and_fixed_leases_count_the_time_that_has_passed,
        nothing_is_lost_before_workers_could_speak,
        while_nobody_is_heard_silence_is_borne_for_longer,
        heartbeats_count_in_the_order_of_their_arrival,
        a_list_of_before_a_claim_forgets_nothing_of_it,
        a_heartbeat_from_the_future_spoils_no_name,
        a_history_never_runs_backwards,
        what_waits_for_a_time_ahead_is_dated_anew,
        a_task_that_is_dated_anew_rings,
        a_worker_whose_times_lie_ahead_is_dated_anew,
        the_note_of_a_round_is_kept,
    ],
    losses: [
        a_superseded_start_that_speaks_makes_its_name_contested,
        the_first_loss_to_a_new_start_does_not_count,
        starts_that_take_a_name_from_each_other_never_fail_a_task,
        a_contested_name_waits_for_the_word_of_the_earlier_start,
        a_task_that_ends_its_worker_fails_under_any_name,
    ],
    alone: [
        a_task_lost_with_its_worker_twice_is_given_out_alone,
        only_the_task_that_ends_its_workers_fails,
        a_worker_that_takes_one_task_at_a_time_gets_it_in_its_turn,
        a_worker_that_holds_something_is_not_given_it,
        one_worker_makes_room_for_a_task_that_has_waited,
        a_worker_makes_room_no_longer_than_the_task_waits,
        a_silent_worker_makes_room_for_nobody,
        no_room_is_made_before_the_tasks_turn,
        claims_are_narrowed_for_it_as_for_others,
        an_end_that_is_told_lets_it_run_with_others,
        repetitions_and_completions_bring_it_along,
        it_waits_and_is_counted_as_others,
        it_is_given_out_alone_over_a_restart,
    ],
    limits: [
        a_queue_runs_no_more_than_its_limit,
        a_project_runs_no_more_than_its_limit_over_all_queues,
        a_project_in_a_queue_has_a_limit_of_its_own,
        an_owner_has_a_limit_over_all_projects,
        tasks_of_one_key_share_a_limit,
        a_limit_by_name_goes_before_that_for_each,
        a_limit_may_be_changed_while_tasks_run,
        types_may_be_exempt_from_a_limit,
        a_rate_spaces_starts,
        a_jump_of_the_clock_doubles_no_starts,
        limits_outlive_a_restart,
        limits_are_listed_by_what_they_hold_for,
    ],
    places: [
        a_task_over_a_limit_holds_up_nobody_behind_it,
        every_end_of_an_attempt_frees_its_place,
        a_key_with_a_limit_of_one_is_strictly_in_order,
        a_retry_holds_its_successors_back_or_lets_them_pass,
        what_waits_at_a_limit_is_queued_to_everybody,
        a_higher_priority_goes_first_at_a_limit,
        a_free_place_waits_for_no_worker_that_never_comes,
        what_a_limit_has_let_go_of_holds_up_nobody_behind_it,
        a_free_place_rings,
        a_free_place_rings_for_those_that_missed_one,
        claims_at_once_use_a_limit_to_the_full_and_never_exceed_it,
    ],
    operate: [
        a_cancelled_task_is_given_out_no_more,
        a_running_task_is_cancelled_under_its_worker,
        a_cancellation_again_changes_nothing,
        a_finished_task_cannot_be_cancelled,
        a_retried_task_has_fresh_attempts_and_rising_numbers,
        a_cancelled_task_can_be_retried,
        an_attempt_before_the_retry_is_over,
        a_completed_task_cannot_be_retried,
        an_unfinished_task_cannot_be_retried,
        commands_to_one_task_leave_the_others,
    ],
    dependencies: [
        a_dependant_waits_until_the_last_dependency_is_completed,
        a_dependency_that_is_completed_already_is_met,
        a_graph_is_created_by_one_request,
        an_unknown_dependency_is_refused_by_its_place,
        a_cycle_is_refused_and_what_depends_on_it,
        the_dependencies_are_part_of_what_was_asked,
        a_failure_cancels_dependants_and_names_the_first,
        a_cancelled_or_reaped_dependency_is_a_failed_one,
        a_task_says_what_a_failed_dependency_does_to_it,
        a_task_that_runs_all_the_same_waits_for_every_end,
        a_dependency_that_has_failed_already_ends_the_task,
        a_dependency_that_has_failed_already_ends_a_new_graph,
        a_dependant_for_later_waits_for_both,
        a_blocked_task_can_be_cancelled,
        a_cancellation_with_dependants_cancels_all_that_wait,
        a_retry_with_dependants_has_them_wait_again,
        a_dependant_is_retried_after_its_dependency,
        a_retry_with_dependants_can_be_sent_again,
        what_an_unfinished_task_depends_on_is_kept,
        a_new_task_under_a_removed_ones_id_has_the_dependants_that_name_it,
        what_was_removed_is_no_dependant,
        blocked_tasks_are_listed_and_counted,
        edges_are_told_from_both_ends,
        inputs_bring_what_is_small,
        a_task_that_is_let_go_of_rings,
        completions_at_once_let_go_of_a_task_once,
        an_end_races_the_creation_of_a_dependant,
        blocked_tasks_outlive_a_restart,
    ],
    expiry: [
        a_task_that_is_not_started_in_time_fails,
        a_claim_passes_over_what_has_expired,
        a_crowd_of_expired_tasks_hides_nothing,
        a_task_that_was_started_in_time_goes_on,
        an_attempt_that_was_given_back_is_no_start,
        a_blocked_task_expires_and_its_dependants_hear_of_it,
        a_retried_task_expires_no_longer,
        what_waits_at_a_limit_expires,
        a_claim_races_the_expiry,
        expiries_outlive_a_restart,
    ],
    unique: [
        a_second_task_of_a_key_is_answered_with_the_first,
        a_key_is_free_however_its_task_has_ended,
        a_key_that_is_held_while_its_task_waits_is_free_once_that_runs,
        a_key_that_is_held_for_a_while_is_free_after_it,
        a_key_belongs_to_its_project_and_queue,
        a_batch_creates_one_task_of_a_key,
        what_waits_for_a_second_task_waits_for_the_first,
        a_retry_is_refused_while_another_holds_the_key,
        a_unique_task_sent_again_is_itself,
        of_creations_at_once_one_makes_the_task,
        a_creation_races_the_end_of_the_holder,
        a_retry_races_a_creation,
        keys_outlive_a_restart,
        a_removed_task_holds_no_key,
    ],
    purge: [
        finished_tasks_are_removed_after_their_time,
        the_keeping_counts_from_the_end,
        unfinished_tasks_are_never_removed,
        finished_tasks_can_be_kept_for_ever,
        a_purge_is_bounded,
        purges_in_slices_get_to_all,
        old_log_lines_are_removed,
        workers_long_gone_are_removed,
        a_queue_outlives_its_tasks,
        a_purged_id_can_be_created_again,
        ended_tokens_are_removed_after_their_time,
        old_audit_entries_are_removed,
    ],
    token: [
        a_token_is_kept_as_made,
        the_same_creation_of_a_token_again_changes_nothing,
        an_unknown_token_is_none,
        tokens_are_listed_the_newest_first,
        a_bad_token_cursor_is_refused,
        a_token_is_revoked_once_and_at_once,
        an_unknown_token_cannot_be_revoked,
        the_last_use_of_a_token_goes_forward_only,
        the_use_of_an_unknown_token_is_ignored,
        one_token_too_many_is_refused,
        a_revocation_holds_for_every_read_after_it,
        revocations_at_once_agree_on_the_time,
        a_use_races_a_revocation,
        a_revocation_holds_over_a_store_that_fails,
    ],
    audit: [
        an_entry_is_kept_as_recorded,
        the_same_entry_again_changes_nothing,
        an_entry_is_settled,
        an_unknown_entry_is_not_settled,
        entries_are_listed_the_newest_first,
        audit_filters_keep_what_fits,
        a_bad_audit_cursor_is_refused,
        entries_recorded_at_once_are_all_kept,
        what_is_acknowledged_is_kept_over_a_store_that_fails,
    ],
    query: [
        each_filter_keeps_what_fits,
        filters_together_keep_what_fits_all,
        pages_cover_a_list_exactly_once,
        paging_is_steady_while_tasks_are_added,
        a_list_ends,
        a_bad_cursor_is_refused,
        ids_are_found_by_their_beginning,
        what_does_not_exist_is_not_found,
        generations_are_filtered_and_paged,
        workers_are_listed_by_name,
        queues_are_listed_by_name,
        a_paused_queue_tells_by_whom_and_why,
        a_queue_that_no_task_named_is_gone_once_resumed,
        an_open_store_can_be_read_and_written,
        the_sizes_of_a_store_follow_what_it_holds,
        a_long_history_is_read_by_pages,
    ],
    statistics: [
        a_queue_tells_its_numbers,
        statistics_say_as_of_when_they_are,
        statistics_follow_every_transition,
        what_waits_is_counted_by_its_status,
        totals_are_right_whatever_the_bounds_of_the_lists,
        statistics_count_every_worker_by_its_status,
        the_longest_wait_is_told_over_all_queues,
        percentiles_tell_waiting_and_running_times,
        a_run_lasts_as_long_as_its_worker_says_and_no_longer_than_it_can,
        waiting_counts_from_when_the_task_was_ready,
    ],
    doorbell: [
        a_created_task_rings,
        a_batch_rings_for_each_queue_and_type,
        a_failed_attempt_rings_for_its_next,
        a_released_task_rings,
        a_reaped_task_rings,
        a_retried_task_rings,
        a_resumed_queue_rings_for_all_types,
    ],
    durability: [
        tasks_outlive_a_restart,
        work_goes_on_after_a_restart,
        keys_outlive_a_restart,
        workers_queues_and_logs_outlive_a_restart,
        tokens_audit_entries_and_projects_outlive_a_restart,
    ],
    concurrent: [
        one_task_has_one_claimer,
        many_claimers_share_the_tasks_without_overlap,
        no_claim_is_told_that_nothing_waits_while_something_does,
        a_completion_races_the_reaper,
        a_completion_races_a_cancellation,
        a_completion_races_a_failure,
        a_failure_races_the_reaper,
        the_same_completion_at_once_is_taken_once,
        of_different_completions_at_once_one_stands,
        an_old_attempt_races_the_new,
        a_claim_repeated_at_once_takes_its_tasks_once,
        the_cap_holds_under_claims_at_once,
        reapers_at_once_take_each_lease_once,
        retries_at_once_queue_a_task_once,
        a_claim_races_a_cancellation,
        one_chosen_id_created_at_once_is_one_task,
        one_idempotency_key_at_once_creates_once,
        a_refused_command_leaves_its_neighbours_alone,
        completions_with_claims_at_once_do_not_overlap,
        a_fleet_finishes_every_task,
    ],
    transfer: [
        a_moved_store_holds_all_that_the_first_held,
        tokens_go_on_in_a_moved_store,
        work_goes_on_in_a_moved_store,
        what_was_kept_with_rounded_numbers_is_known_again,
        a_worker_of_many_tasks_loses_none_of_them,
        records_taken_in_again_change_nothing,
        records_may_come_in_any_order,
        a_later_version_takes_the_place_of_the_earlier,
        a_task_that_went_on_in_the_target_is_refused,
        another_task_of_the_same_id_is_refused,
        an_older_record_leaves_a_token_revoked,
        an_older_record_leaves_an_audit_entry_settled,
        a_target_that_holds_something_is_refused,
        a_migration_goes_on_where_it_was_cut_off,
        a_source_that_changes_is_noticed_and_copied_anew,
    ],
    random: [
        a_random_history_of_many_tasks_agrees_with_the_oracle,
        a_random_history_of_contended_tasks_agrees_with_the_oracle,
        a_random_history_by_clocks_that_differ_agrees_with_the_oracle,
        a_random_history_under_limits_agrees_with_the_oracle,
        a_random_history_under_limits_by_clocks_that_differ_agrees_with_the_oracle,
    ],
}

#[cfg(test)]
mod tests;
