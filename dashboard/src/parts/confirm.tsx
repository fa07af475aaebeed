// A question before an action that cannot be undone.

import { useEffect, useRef } from "preact/hooks";

interface ConfirmProps {
  title: string;
  text: string;
  action: string;
  onAnswer: (yes: boolean) => void;
}

export function Confirm({ title, text, action, onAnswer }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="confirm-title" onClose={() => onAnswer(false)}>
      <h2 id="confirm-title">{title}</h2>
      <p>{text}</p>
      <div class="row">
        <button class="danger" onClick={() => onAnswer(true)}>
          {action}
        </button>
        <button onClick={() => onAnswer(false)}>Keep it</button>
      </div>
    </dialog>
  );
}
