"""What to run, for how many, at what price: the decision matrix of this project, live.

Owns: what is shown of it. Data are the `.toml` files beside this one (tables.py); it imports no server and no terminal.
"""

from catalyst_signals.advisor.advising import advise
from catalyst_signals.advisor.choosing import choose_deployment, choose_message_queue
from catalyst_signals.advisor.shapes import Advice, Load

__all__ = ["Advice", "Load", "advise", "choose_deployment", "choose_message_queue"]
