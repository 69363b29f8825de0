//! Many questions to the database at once: while one batch is asked the next one gathers, so that there is no waiting
//! for company when it is quiet, and no round trip each when it is not.
use tokio::sync::{mpsc, oneshot};

/// Questions in a batch, at most.
const MOST: usize = 250;

/// A place to ask; clones share it.
#[derive(Debug)]
pub(super) struct Batch<Q, A> {
    questions: mpsc::Sender<(Q, oneshot::Sender<A>)>,
}

impl<Q: Send + 'static, A: Send + 'static> Batch<Q, A> {
    /// Starts asking by `ask`, which answers each question of a batch in order, or none of them.
    pub(super) fn start<F, R>(ask: F) -> Self
    where
        F: Fn(Vec<Q>) -> R + Send + 'static,
        R: Future<Output = Option<Vec<A>>> + Send,
    {
        let (questions, mut asked) = mpsc::channel::<(Q, oneshot::Sender<A>)>(MOST);
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(MOST);
            while asked.recv_many(&mut gathered, MOST).await > 0 {
                let (questions, answers): (Vec<_>, Vec<_>) = gathered.drain(..).unzip();
                for (answer, told) in ask(questions).await.into_iter().flatten().zip(answers) {
                    let _ = told.send(answer);
                }
            }
        });
        Self { questions }
    }

    /// Asks; `None` when the batch failed.
    pub(super) async fn ask(&self, question: Q) -> Option<A> {
        let (told, answer) = oneshot::channel();
        self.questions.send((question, told)).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn each_has_its_own_answer_and_a_batch_fails_as_a_whole() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let batch = Batch::start({
            let sizes = Arc::clone(&sizes);
            move |questions: Vec<u32>| {
                sizes.lock().expect("not poisoned").push(questions.len());
                async move { (!questions.contains(&13)).then(|| questions.iter().map(|number| number * 2).collect()) }
            }
        });
        let answers = join_all((100..600).map(|number| batch.ask(number))).await;
        assert!(answers.iter().zip(100..).all(|(answer, number)| *answer == Some(number * 2)));
        let batches = sizes.lock().expect("not poisoned").len();
        assert!(batches < 50, "{batches} batches for 500 questions");
        assert_eq!(batch.ask(13).await, None);
        assert_eq!(batch.ask(14).await, Some(28));
    }
}
