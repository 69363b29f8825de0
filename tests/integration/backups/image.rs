//! The image that the scripts run in has two recipes, with a container engine and without one: both make the same.
use std::collections::BTreeSet;

const WITH_ENGINE: &str = include_str!("../../../dev/Dockerfile.postgres");
const WITHOUT: &str = include_str!("../../../dev/image");

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} is in the recipe")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("{after} ends what follows {before}")).0
}

#[test]
fn both_recipes_of_the_image_name_the_same_packages_user_and_paths() {
    let packages: BTreeSet<&str> =
        between(WITH_ENGINE, "--no-install-recommends ", " \\\n").split_whitespace().collect();
    let included: BTreeSet<&str> = between(WITHOUT, "--variant=essential --include=", " ").split(',').collect();
    assert_eq!(packages, included);
    assert!(packages.contains("pgbackrest"), "these are the packages: {packages:?}");

    let user = between(WITHOUT, "postgres_user=", "\n");
    assert_eq!(between(WITH_ENGINE, "USER ", "\n"), format!("{user}:{user}"));
    assert!(WITH_ENGINE.contains(&format!("groupadd --gid {user} postgres && useradd --uid {user} --gid {user} ")));
    assert!(WITH_ENGINE.contains(&format!("chown {user}:{user} /var/run/postgresql")));
    assert_eq!(between(WITH_ENGINE, "FROM debian:", "-slim\n"), between(WITHOUT, "suite=", "\n"));

    let environment: Vec<&str> = between(WITH_ENGINE, "ENV ", "\n").split(' ').collect();
    let quoted = between(WITHOUT, "Env: [\"PATH=/usr/lib/postgresql", "]").replace("\", \"", " ");
    assert_eq!(environment.join(" "), format!("PATH=/usr/lib/postgresql{}", quoted.trim_end_matches('"')));
    for recipe in [WITH_ENGINE, WITHOUT] {
        assert!(recipe.contains("create_main_cluster = false"), "no cluster is made with the packages");
    }
}
