from headrace.bench.timeline import Point, Timeline


def point(seconds=1.0, chunks=1, completed=0, failed=0, running=1.0):
    return Point(seconds, chunks, completed, failed, running)


def test_points_are_as_they_were_while_they_fit():
    timeline = Timeline(limit=4)
    for chunks in (1, 2, 3):
        timeline.add(point(chunks=chunks))
    assert [each.chunks for each in timeline.points] == [1, 2, 3]


def test_a_long_run_has_no_more_points_and_loses_nothing():
    timeline = Timeline(limit=8)
    for number in range(1_001):
        timeline.add(point(seconds=0.5, chunks=number, completed=1, failed=2))
    timeline.flush()
    assert len(timeline.points) <= 8
    assert sum(each.chunks for each in timeline.points) == sum(range(1_001))
    assert sum(each.seconds for each in timeline.points) == 500.5
    assert sum(each.completed for each in timeline.points) == 1_001
    assert sum(each.failed for each in timeline.points) == 2_002


def test_running_is_an_average_over_time():
    together = point(seconds=1.0, running=1.0).plus(point(seconds=3.0, running=5.0))
    assert (together.seconds, together.running) == (4, 4)


def test_points_of_no_time_can_be_joined():
    assert point(seconds=0.0).plus(point(seconds=0.0)).running == 0


def test_flushing_twice_adds_nothing():
    timeline = Timeline(limit=2)
    for _ in range(3):
        timeline.add(point())
    timeline.flush()
    timeline.flush()
    assert sum(each.seconds for each in timeline.points) == 3
