"""Templates of CloudFormation, read as CloudFormation reads them: functions done, stacks joined by what they export.

Owns: Stack and the functions that our templates use. What AWS would know (an endpoint, an ARN) is told, or is shown as
`<Type Name Attribute>`, so that a test can see what it is of. Knows nothing of what our templates are for.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

PSEUDO = {
    "AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::NoValue": None,
    "AWS::StackId": "<stack>",
}  # fmt: skip


class Stack:
    """One template under its name, with parameters and with what AWS would say (`Database.Endpoint.Address`).

    `others` are the stacks whose exports it may import, `secrets` what is in a secret by the name of its resource.
    """

    def __init__(
        self, name: str, path: Path, *, parameters: Mapping[str, str] | None = None,
        said: Mapping[str, str] | None = None, secrets: Mapping[str, str] | None = None,
        others: Mapping[str, Stack] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.template: dict[str, Any] = cfn_yaml.load(str(path))
        declared = self.template.get("Parameters", {})
        unknown = set(parameters or {}) - set(declared)
        assert not unknown, f"{path.name} has no parameter {unknown}"
        defaults = {key: str(each["Default"]) for key, each in declared.items() if "Default" in each}
        self.said, self.secrets, self.others = said or {}, secrets or {}, others or {}
        self.parameters = {**{key: f"<parameter {key}>" for key in declared}, **defaults, **(parameters or {})}
        for key, each in declared.items():
            if each["Type"] == "AWS::SSM::Parameter::Value<String>":
                self.parameters[key] = self._stored(self.parameters[key])

    @property
    def exports(self) -> dict[str, Any]:
        """What others may import, by name."""
        outputs = self.template.get("Outputs", {}).values()
        return {self.value(each["Export"]["Name"]): self.value(each["Value"]) for each in outputs if "Export" in each}

    def _stored(self, name: str) -> str:
        """What another stack keeps in Systems Manager under this name."""
        kept = [each for other in self.others.values() for each in other.resources("AWS::SSM::Parameter").values()]
        (found,) = [each["Value"] for each in kept if each["Name"] == name]
        return str(found)

    def resources(self, *types: str) -> dict[str, dict[str, Any]]:
        """The properties of those that there are with these parameters, of these types or all, by name."""
        return {
            name: self.value(each.get("Properties", {})) for name, each in self.template["Resources"].items()
            if (not types or each["Type"] in types) and self._holds(each.get("Condition"))
        }  # fmt: skip

    def value(self, node: Any) -> Any:
        """The same with every function done."""
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((word, argument),) = node.items()
            function = getattr(self, "_" + word.removeprefix("Fn::").lower(), None)
            if function is not None and (word == "Ref" or word.startswith("Fn::")):
                return function(argument)
        found = {key: self.value(each) for key, each in node.items()}
        return {key: each for key, each in found.items() if each is not None}

    # --- The functions --------------------------------------------------------------------------------------------

    def _ref(self, name: str) -> Any:
        if name == "AWS::StackName":
            return self.name
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.said.get(name, f"<{self.template['Resources'][name]['Type']} {name}>")

    def _getatt(self, argument: Any) -> str:
        name, _, attribute = argument.partition(".") if isinstance(argument, str) else (argument[0], "", argument[1])
        resource = self.template["Resources"][name]
        if attribute == "CidrBlock":
            return str(self.value(resource["Properties"]["CidrBlock"]))
        return self.said.get(f"{name}.{attribute}", f"<{resource['Type']} {name} {attribute}>")

    def _sub(self, argument: Any) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument
        given = {key: self.value(each) for key, each in given.items()}

        def done(gap: re.Match[str]) -> str:
            name = gap[1]
            if name in given:
                return str(given[name])
            return str(self._getatt(name) if "." in name else self._ref(name))

        return self._secret(re.sub(r"\$\{([A-Za-z0-9:.]+)\}", done, text))

    def _secret(self, text: str) -> str:
        """`{{resolve:secretsmanager:<... Name>:SecretString:key}}`, if we know the secret."""
        for found in re.finditer(r"\{\{resolve:secretsmanager:<[\w:]+ (\w+)>:SecretString(?::(\w+))?\}\}", text):
            if found[1] in self.secrets:
                held = self.secrets[found[1]]
                text = text.replace(found[0], json.loads(held)[found[2]] if found[2] else held)
        return text

    def _join(self, argument: Any) -> str:
        return str(argument[0]).join(self.value(argument[1]))

    def _split(self, argument: Any) -> list[str]:
        return str(self.value(argument[1])).split(argument[0])

    def _select(self, argument: Any) -> Any:
        return self.value(argument[1])[int(self.value(argument[0]))]

    def _cidr(self, argument: Any) -> list[str]:
        block, count, bits = (self.value(each) for each in argument)
        blocks = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
        return [str(each) for each, _ in zip(blocks, range(int(count)), strict=False)]

    def _getazs(self, _: Any) -> list[str]:
        return ["a", "b", "c"]

    def _base64(self, argument: Any) -> Any:
        return self.value(argument)

    def _importvalue(self, argument: Any) -> Any:
        name = self.value(argument)
        for other in self.others.values():
            if name in other.exports:
                return other.exports[name]
        raise AssertionError(f"{self.name} imports {name}, which no stack exports")

    def _if(self, argument: Any) -> Any:
        return self.value(argument[1] if self._holds(argument[0]) else argument[2])

    def _holds(self, name: str | None) -> bool:
        return name is None or self._true(self.template["Conditions"][name])

    def _true(self, node: Any) -> bool:
        ((word, argument),) = node.items()
        if word == "Fn::Not":
            return not self._true(argument[0])
        if word in ("Fn::And", "Fn::Or"):
            return (all if word == "Fn::And" else any)(map(self._true, argument))
        assert word == "Fn::Equals", word
        first, second = map(self.value, argument)
        return str(first) == str(second)


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(node, dict):
        for key, each in node.items():
            yield str(key), each
            yield from walk(each)
    elif isinstance(node, list):
        for each in node:
            yield from walk(each)
