//! One test on both ways of moving bytes. Who uses it has `Io` and `Wanted` in scope.

/// Each of them runs on both drivers; io_uring is skipped where the kernel forbids it, unless it is asked for.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(
                #[tokio::test]
                async fn $test() {
                    match Wanted::Only(Io::Uring).choose(1) {
                        Ok(choice) => super::$test(choice.io).await,
                        Err(error) if std::env::var("ESTAFETTE_TEST_IO").is_ok_and(|io| io == "uring") => {
                            panic!("{error}")
                        }
                        Err(error) => eprintln!("skipped: {error}"),
                    }
                }
            )*
            use super::{Io, Wanted};
        }
        mod epoll {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::Io::Epoll).await;
                }
            )*
        }
    };
}
