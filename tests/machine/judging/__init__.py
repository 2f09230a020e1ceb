# SPDX-License-Identifier: Apache-2.0
"""What the emulated machine's scenarios are judged by; see tests/machine/README.md."""
