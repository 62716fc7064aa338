//! The list of rules as tests: what [`super::RULES`] and a store's tests are made by.

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
                        for seed in $d crate::conformance::history::seeds(2) {
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
