package command

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/train"
)

func trainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "train", Short: "Train models"}
	var file string
	one := &cobra.Command{
		Use: "seed", Short: "Train the built-in model again, byte for byte", Args: cobra.NoArgs,
		Long: "Repeat the training of koinon-seed from the project's own documentation and compare the result with the model inside this binary. It takes up to half an hour on two cores; the bytes are the same on every machine.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runTrainSeed(cmd, file) },
	}
	one.Flags().StringVar(&file, "file", "", "also write the model to `FILE.gguf`")
	cmd.AddCommand(one)
	return cmd
}

func runTrainSeed(cmd *cobra.Command, file string) error {
	ctx, begin := cmd.Context(), time.Now()
	progress, wait := trainingBar(ctx, cmd, seed.Config().Steps)
	b, rep, err := seed.Train(ctx, progress)
	wait()
	if err != nil {
		return err
	}
	if file != "" {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
	}
	same := bytes.Equal(b, seed.Bytes())
	if wantsJSON(cmd) {
		if err := printJSON(cmd, map[string]any{"root": rep.Root, "bytes": len(b), "parameters": rep.Parameters, "loss": rep.Final.Loss, "seconds": time.Since(begin).Seconds(), "reproduced": same}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "root %s\n%d parameters, %d bytes, loss %.4f, %s\n", rep.Root, rep.Parameters, len(b), rep.Final.Loss, time.Since(begin).Round(time.Second))
	}
	if !same {
		return &core.Error{Code: core.CodeInternal, Message: "the result is not the model inside this binary, whose root is " + seed.Root, Next: "this machine or this build computes differently: please report it"}
	}
	if !wantsJSON(cmd) {
		fmt.Fprintln(cmd.OutOrStdout(), good.Render("✓"), "the same bytes as the built-in model")
	}
	return nil
}

// trainingBar shows progress on a terminal and is silent elsewhere.
func trainingBar(ctx context.Context, cmd *cobra.Command, steps int) (func(train.Progress), func()) {
	if s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd)); !s.live {
		return func(train.Progress) {}, func() {}
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(40))
	loss := 0.0
	bar := p.AddBar(int64(steps),
		mpb.PrependDecorators(decor.Name("training "), decor.CountersNoUnit("%d / %d steps")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("loss %.3f  ", loss) }), decor.AverageETA(decor.ET_STYLE_GO)))
	return func(t train.Progress) { loss = t.Loss; bar.SetCurrent(int64(t.Step)) }, func() { bar.Abort(false); p.Wait() }
}
