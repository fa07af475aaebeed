// Asks for the API token once; the tab keeps it for its session.

import { useEffect, useRef, useState } from "preact/hooks";

import { giveToken, token, tokenWanted } from "../api";
import { Field } from "./common";

export function TokenDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [value, setValue] = useState("");
  const isWanted = tokenWanted.value;
  const wasWrong = token.value !== null;
  useEffect(() => {
    if (isWanted && !dialog.current?.open) dialog.current?.showModal();
    if (!isWanted) dialog.current?.close();
  }, [isWanted]);
  const submit = (event: Event) => {
    event.preventDefault();
    if (value.trim() === "") return;
    giveToken(value.trim());
    setValue("");
  };
  return (
    <dialog ref={dialog} aria-labelledby="token-title" onCancel={(event) => event.preventDefault()}>
      <form onSubmit={submit}>
        <h2 id="token-title">Sign in</h2>
        <Field
          id="token"
          label="API token"
          hint="The value of INSTALLER_API_TOKEN. This tab keeps it until you close it."
          error={wasWrong && isWanted ? "The service did not accept this token." : undefined}
        >
          <input
            id="token"
            type="password"
            autocomplete="current-password"
            aria-describedby="token-help"
            value={value}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
        </Field>
        {/* A password manager files the token under this name. */}
        <input type="text" autocomplete="username" value="api-token" hidden readOnly />
        <button class="primary">Continue</button>
      </form>
    </dialog>
  );
}
