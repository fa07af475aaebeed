// Sets one key: the field, the service's answer, and what the key's site says of it. The value leaves the page once.

import { useState } from "preact/hooks";

import { call, fieldErrors } from "../api";
import type { ChangedKey, CheckedKey } from "../types";
import { Field } from "./common";

interface KeyFormProps {
  name: string;
  title: string;
  // What the button says.
  action: string;
  onSet: (check: CheckedKey) => void;
}

export async function checkKey(name: string): Promise<CheckedKey> {
  return call<CheckedKey>("POST", `/keys/${name}/check`);
}

export function KeyForm({ name, title, action, onSet }: KeyFormProps) {
  const [value, setValue] = useState("");
  const [wrong, setWrong] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const id = `key-${name}`;
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setWrong(null);
    try {
      await call<ChangedKey>("PUT", `/keys/${name}`, { body: { value: value.trim() } });
      setValue("");
      onSet(await checkKey(name));
    } catch (error) {
      const found = fieldErrors(error);
      setWrong(found["value"] ?? found[""] ?? Object.values(found)[0] ?? "It could not be stored.");
      document.getElementById(id)?.focus();
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)} noValidate>
      <Field id={id} label={title} hint="Stored encrypted, and never shown again." error={wrong ?? undefined}>
        <div class="row together">
          {/* Not a password of this page: no manager of passwords shall fill it in or keep it. */}
          <input
            id={id}
            class="grow secret"
            type="text"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            data-1p-ignore
            aria-describedby={`${id}-help`}
            aria-invalid={wrong !== null}
            value={value}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
          <button class="primary" disabled={isBusy || value.trim() === ""}>
            {isBusy ? "Asking…" : action}
          </button>
        </div>
      </Field>
    </form>
  );
}
