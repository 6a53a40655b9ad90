"""Enrolment of people: checks of new photos, their results, and changes of the people enrolled."""
