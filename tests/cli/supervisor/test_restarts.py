from headrace.cli.supervisor.restarts import FIRST_DELAY_S, MOST, QUICK_S, Restarts


def test_quick_deaths_are_waited_for_longer_and_longer_and_then_are_enough():
    restarts = Restarts()
    delays = [restarts.died(0.5) for _ in range(MOST)]
    assert delays[0] == FIRST_DELAY_S
    *waits, last = delays
    assert last is None
    known = [wait for wait in waits if wait is not None]
    assert len(known) == MOST - 1 and known == sorted(set(known))


def test_who_lived_long_is_started_again_at_once_for_ever():
    restarts = Restarts()
    assert {restarts.died(QUICK_S) for _ in range(3 * MOST)} == {FIRST_DELAY_S}


def test_a_long_life_makes_the_quick_deaths_before_it_forgotten():
    restarts = Restarts()
    for _ in range(3):
        assert [restarts.died(0.0) for _ in range(MOST - 1)].count(None) == 0
        assert restarts.died(QUICK_S) == FIRST_DELAY_S
