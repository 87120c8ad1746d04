"""Model versions take over an endpoint's traffic: 0 %, smoke test, shadow, canary, 100 %, bake, archive; back from any of them.

One look, in the order in which it is taken (docs/concepts/rollouts.md draws the phases):

    request.py        ModelRegistered becomes a wish, and wakes the endpoint
    reconcile.py      one look: observe, decide, one step; then tell people
    observe.py        what is to be known of the world, by golden.py (asks deployments) and people.py (commands)
    decide.py         the order of what is decided (pure, and so is all that it calls):
        obeying.py        a person's word
        watching.py       what holds in every phase: read back, the tested candidate, the judge, a newer version, a pause
        beginning.py      gated, provisioning, smoke test; provenance.py says whose model it is
        ramping.py        shadow, canary
        ending.py         promoting, baking, archiving, rolling back
        situation.py      what each of them decides from, and the steps that they share
    evolve.py         the state after a step; notices.py says what people are told of it
    telling.py        sends that

    judge/            whether the candidate is worse; smoke.py compares golden answers, slices.py groups held-out rows
    planner.py        how long a verdict will take; forecast.py asks it for a rollout that has not begun
    deadlines.py, freeze.py, splits.py      when people are told; when nothing is promoted; live and mirrored traffic
    state.py, actions.py, commands.py       the values; yesterday.py reads states as earlier versions of the app wrote them
    people.py, people_over_http.py          what people ask for, from the command line and over HTTP
    story.py, chapters.py                   a rollout told from its decisions
"""
