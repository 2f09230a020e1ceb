# SPDX-License-Identifier: Apache-2.0
"""The figures for people: tables and a plot."""


def text(judged):
    return "\n".join(s.name for s, _ in judged)
